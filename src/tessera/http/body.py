"""The body of a request: JSON, uncompressed, capped, and in time; then decoded.

Bodies that take long are decoded one at a time, in a thread, and accounts take turns. Decoding holds the
interpreter's lock: several threads would only contend for it with the event loop. With one, the event loop
gets its turn between two bodies.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import TypeAlias, TypeVar

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from tessera.errors import BodyTimeout, BodyTooLarge, UnsupportedMediaType
from tessera.http.errors import ClientGone
from tessera.http.limits import BodyLimits
from tessera.observe.metrics import Metrics
from tessera.processes.sharing import FairPool
from tessera.wire.reading import count_separators

T = TypeVar("T")

Reserve: TypeAlias = Callable[[int], Awaitable[None]]
"""Reserves memory for so many bytes in all, after a wait if need be."""

UNDECLARED_BYTES = 64 * 1024
"""Reserved for a body of unknown length; if it turns out longer, the maximum is reserved."""

INLINE_BYTES = 32 * 1024
INLINE_VALUES = 512
"""Bodies of up to `INLINE_BYTES` with up to about `INLINE_VALUES` values are decoded in the event loop, in a
few milliseconds at the worst. Values cost more than bytes: 30 kB of short ones can take 20 ms.
"""


async def _reserve_nothing(n: int) -> None:
    pass


async def read_body(
    scope: Scope, receive: Receive, limits: BodyLimits, reserve: Reserve = _reserve_nothing
) -> bytes:
    """The whole body; `reserve` is awaited before bytes are received. Raises `UnsupportedMediaType`,
    `BodyTooLarge`, `BodyTimeout`, `ClientGone`, and what `reserve` raises.
    """
    headers = Headers(scope=scope)
    _check_type(headers)
    declared = headers.get("content-length", "")
    length = int(declared) if declared.isdecimal() else min(UNDECLARED_BYTES, limits.max_body_bytes)
    if length > limits.max_body_bytes:
        raise _too_large(limits)
    await reserve(length)
    try:
        return await _receive(receive, limits, length, reserve)
    except TimeoutError:
        raise BodyTimeout(
            f"The body did not arrive within {limits.body_deadline_s:g} s. Send the request again."
        ) from None


async def _receive(receive: Receive, limits: BodyLimits, n_reserved: int, reserve: Reserve) -> bytes:
    body = bytearray()
    now = asyncio.get_running_loop().time
    async with asyncio.timeout(limits.body_deadline_s) as deadline:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            if len(body) + len(part) > limits.max_body_bytes:
                raise _too_large(limits)
            if len(body) + len(part) > n_reserved:
                n_reserved = limits.max_body_bytes
                begun_s = now()
                at_s = deadline.when() or math.inf
                deadline.reschedule(None)  # a wait that the server causes is not the client's time
                await reserve(n_reserved)
                deadline.reschedule(at_s + now() - begun_s)
            body += part
            if not message.get("more_body", False):
                return bytes(body)


def _check_type(headers: Headers) -> None:
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Compressed bodies are not taken: leave out Content-Encoding.")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send the body as JSON with Content-Type: application/json.")


def _too_large(limits: BodyLimits) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limits.max_body_bytes} bytes. Send less.")


class Decoding:
    """The decoding of one event loop's bodies."""

    def __init__(self, metrics: Metrics) -> None:
        self._thread = ThreadPoolExecutor(1, "decoding")
        self._turns = FairPool([self._thread])
        self._waiting = metrics.bodies_waiting

    @property
    def n_waiting(self) -> int:
        return self._turns.n_waiting

    async def decode(self, account: str, body: bytes, decode: Callable[[bytes], T]) -> T:
        """The result of `decode`: for a small body at once, else when it is the account's turn."""
        if len(body) <= INLINE_BYTES and count_separators(body) <= INLINE_VALUES:
            return decode(body)
        async with AsyncExitStack() as turn:
            with self._waiting.track_inprogress():
                thread = await turn.enter_async_context(self._turns.lend(account))
            return await asyncio.get_running_loop().run_in_executor(thread, decode, body)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
