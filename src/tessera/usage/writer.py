"""A thread that does one thing after the other for an event loop: it is woken once for each, and so is the
loop.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias

Work: TypeAlias = Callable[[], None]
Done: TypeAlias = asyncio.Future[Exception | None]
"""With what went wrong, or None."""


class Writer:
    """Does not keep the process from ending, whatever its work hangs on."""

    def __init__(self) -> None:
        self._given: SimpleQueue[tuple[Work, Done] | None] = SimpleQueue()

    def start(self) -> None:
        """Begin."""
        Thread(target=self._go_on, name="ledger", daemon=True).start()

    def do(self, work: Work, within_s: float) -> Done:
        """Do it when what was given before is done. Done with `TimeoutError` if it takes longer than that."""
        loop = asyncio.get_running_loop()
        done: Done = loop.create_future()
        late = loop.call_later(within_s, _resolve, done, TimeoutError())
        done.add_done_callback(lambda _: late.cancel())
        self._given.put((work, done))
        return done

    def end(self) -> None:
        """When all is done."""
        self._given.put(None)

    def _go_on(self) -> None:
        while given := self._given.get():
            work, done = given
            failure = None
            try:
                work()
            except Exception as error:
                failure = error
            with suppress(RuntimeError):  # nobody waits any more: the loop has ended
                done.get_loop().call_soon_threadsafe(_resolve, done, failure)


def _resolve(done: Done, failure: Exception | None) -> None:
    if not done.done():
        done.set_result(failure)
