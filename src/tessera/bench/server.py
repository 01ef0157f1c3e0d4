"""A server that is measured, and the client that measures it: raw bytes and times, nothing else.

The client shares the cores with the server. So requests are encoded before the clock starts, blocks are kept
as they arrive, and nothing is parsed before the round has ended. Each request has its own connection.
"""

import asyncio
import errno
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import msgspec

from tessera.bench.address import Address, locate
from tessera.bench.capture import Capture
from tessera.bench.rounds import Ask
from tessera.errors import CommandError

_HELLO_S = 10.0
_LAST_CHUNK = b"0\r\n\r\n"


class _Card(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    cards: list[_Card] = msgspec.field(default_factory=list[_Card], name="data")


@dataclass(frozen=True, slots=True)
class Server:
    """A server that has answered, at the address `host`."""

    name: str
    address: Address
    host: str
    api_key: str | None = None
    model: str | None = None

    async def prepare(self, body: Mapping[str, object], deadline_s: float) -> Ask:
        """Encode the request. Awaiting the returned function sends it."""
        named = {"model": self.model, **body} if self.model else body
        request = self._request("POST", "/chat/completions", msgspec.json.encode(named))

        async def ask() -> Capture:
            return await exchange(self.host, self.address.port, request, deadline_s)

        return ask

    async def first_model(self) -> str | None:
        """The first model that the server lists, if any. Raises `CommandError` if it does not answer or
        rejects the key.
        """
        request = self._request("GET", "/models", b"")
        recording = await exchange(self.host, self.address.port, request, _HELLO_S)
        if recording.problem:
            raise CommandError(f"No server answers at {self.address.url}: {recording.problem}.")
        try:
            status, body = recording.whole()
            if status in (401, 403):
                raise CommandError(
                    f"{self.name} does not take the key ({status}): set TESSERA_API_KEY to one that it takes."
                )
            cards = msgspec.json.decode(body, type=_Models).cards if status == 200 else []
        except (ValueError, msgspec.DecodeError):
            return None
        return cards[0].id if cards else None

    def _request(self, method: str, path: str, body: bytes) -> bytes:
        key = f"Authorization: Bearer {self.api_key}\r\n" if self.api_key else ""
        head = (
            f"{method} {self.address.path}{path} HTTP/1.1\r\n"
            f"Host: {self.address.authority}\r\n"
            f"{key}"
            "Accept: */*\r\n"
            "Connection: close\r\n"
        )
        kind = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        return f"{head}{kind}\r\n".encode() + body


async def find(name: str, url: str, api_key: str | None, model: str | None = None) -> Server:
    """Return the server at that URL, with the model that requests will name. Raises `CommandError` if none
    answers.
    """
    address = locate(url)
    problem = ""
    for host in address.hosts:
        server = Server(name, address, host, api_key, model)
        try:
            return replace(server, model=await server.first_model() if model is None else model)
        except CommandError as error:
            problem = problem or error.message
    raise CommandError(problem)


async def exchange(host: str, port: int, request: bytes, deadline_s: float) -> Capture:
    """Send the request and keep what comes until the response ends or the deadline passes."""
    loop = asyncio.get_running_loop()
    recorder = _Recorder(request, loop.create_future())
    transport: asyncio.Transport | None = None
    problem = None
    begun = time.perf_counter()
    try:
        async with asyncio.timeout(deadline_s):
            transport, _ = await loop.create_connection(lambda: recorder, host, port)
            await recorder.ended
    except TimeoutError:
        problem = "deadline passed"
    except OSError as error:
        problem = errno.errorcode.get(error.errno or 0, type(error).__name__)
    finally:
        if transport is not None:
            transport.abort()
    ended = recorder.times[-1] if recorder.times else time.perf_counter()
    return Capture(begun, recorder.times, recorder.blocks, ended, problem)


class _Recorder(asyncio.Protocol):
    """Keeps blocks and times in two flat lists, which cost the garbage collector nothing."""

    def __init__(self, request: bytes, ended: "asyncio.Future[None]") -> None:
        self.times: list[float] = []
        self.blocks: list[bytes] = []
        self.ended = ended
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    # asyncio calls it by position; its own name for the argument says nothing.
    def data_received(self, received: bytes) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.times.append(time.perf_counter())
        self.blocks.append(received)
        # Some servers leave the connection open although they were asked to close it.
        if received.endswith(_LAST_CHUNK) and (received == _LAST_CHUNK or received[-7:-5] == b"\r\n"):
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
