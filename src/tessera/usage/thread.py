"""The one thread that writes to the store for an event loop. For each piece of work it is woken once, and so
is the loop.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias

Work: TypeAlias = Callable[[], None]
Done: TypeAlias = asyncio.Future[Exception | None]
"""Resolves to the exception that the work raised, or None."""


class WriterThread:
    """A daemon thread: a write that hangs does not keep the process from exiting."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[Work, Done] | None] = SimpleQueue()

    def start(self) -> None:
        Thread(target=self._run, name="ledger", daemon=True).start()

    def submit(self, work: Work, within_s: float) -> Done:
        """Queues the work. Resolves to `TimeoutError` after `within_s`, though the work goes on."""
        loop = asyncio.get_running_loop()
        done: Done = loop.create_future()
        late = loop.call_later(within_s, _resolve, done, TimeoutError())
        done.add_done_callback(lambda _: late.cancel())
        self._queue.put((work, done))
        return done

    def stop(self) -> None:
        """The thread ends after the work that is queued."""
        self._queue.put(None)

    def _run(self) -> None:
        while queued := self._queue.get():
            work, done = queued
            failure = None
            try:
                work()
            except Exception as error:
                failure = error
            with suppress(RuntimeError):  # the loop has ended: nobody waits any more
                done.get_loop().call_soon_threadsafe(_resolve, done, failure)


def _resolve(done: Done, failure: Exception | None) -> None:
    if not done.done():
        done.set_result(failure)
