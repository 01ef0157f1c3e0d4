"""Bodies that take long are decoded one at a time, in a thread, and accounts take turns.

Decoding holds the interpreter's lock: several threads would only contend for it with the event loop. With
one, the event loop gets its turn between two bodies.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from tessera.observe.metrics import Metrics
from tessera.processes.fair_queue import FairQueue
from tessera.wire.reading import count_separators

T = TypeVar("T")

INLINE_BYTES = 32 * 1024
INLINE_VALUES = 512
"""Bodies of up to `INLINE_BYTES` with up to about `INLINE_VALUES` values are decoded in the event loop, in a
few milliseconds at the worst. Values cost more than bytes: 30 kB of short ones can take 20 ms.
"""


@dataclass(frozen=True, slots=True, eq=False)
class _DecodingTurn:
    account: str
    came: asyncio.Future[None]


class Decoding:
    """The decoding of one event loop's bodies."""

    def __init__(self, metrics: Metrics) -> None:
        self._is_busy = False
        self._turns: FairQueue[str, _DecodingTurn] = FairQueue()
        self._thread = ThreadPoolExecutor(1, "decoding")
        self._waiting = metrics.bodies_waiting

    @property
    def n_waiting(self) -> int:
        """Bodies that wait for their turn."""
        return len(self._turns)

    async def decode(self, account: str, body: bytes, decode: Callable[[bytes], T]) -> T:
        """The result of `decode`: for a small body at once, else when it is the account's turn."""
        if len(body) <= INLINE_BYTES and count_separators(body) <= INLINE_VALUES:
            return decode(body)
        async with self._turn(account):
            return await asyncio.get_running_loop().run_in_executor(self._thread, decode, body)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def _turn(self, account: str) -> AsyncGenerator[None]:
        if self._is_busy:
            await self._wait(_DecodingTurn(account, asyncio.get_running_loop().create_future()))
        self._is_busy = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, turn: _DecodingTurn) -> None:
        self._turns.add(turn.account, turn)
        try:
            with self._waiting.track_inprogress():
                await asyncio.shield(turn.came)
        except BaseException:
            if turn.came.done():
                self._pass_on()
            else:
                self._turns.remove(turn.account, turn)
            raise

    def _pass_on(self) -> None:
        """Gives the turn to the next body, for which `_is_busy` stays true, if there is one."""
        self._is_busy = bool(self._turns)
        if self._turns:
            turn = self._turns.next({})
            self._turns.take(turn.account, turn)
            turn.came.set_result(None)
