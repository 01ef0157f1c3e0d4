"""Calls of the store from an event loop: in threads, with a timeout."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias, TypeVar

from tessera.errors import StoreUnavailable

T = TypeVar("T")

CLOSING_S = 1.0

Work: TypeAlias = Callable[[], None]
Done: TypeAlias = asyncio.Future[Exception | None]
"""Resolves to the exception that the work raised, or None."""


async def call_within(threads: Executor, call: Callable[[], T], within_s: float) -> T:
    """The result of `call`. Raises what it raises, or `StoreUnavailable` after `within_s`; the thread stays
    busy until the driver's own timeout.
    """
    try:
        async with asyncio.timeout(within_s):
            return await asyncio.get_running_loop().run_in_executor(threads, call)
    except TimeoutError as error:
        raise StoreUnavailable("The store does not answer in time. Send the request again.") from error


async def shut_down(threads: ThreadPoolExecutor) -> None:
    """Waits a moment for the calls that run, so that their connections are back when the database closes."""
    ending = asyncio.get_running_loop().run_in_executor(None, lambda: threads.shutdown(cancel_futures=True))
    await asyncio.wait({ending}, timeout=CLOSING_S)


class WriterThread:
    """The one thread that writes to the store for an event loop. For each piece of work it is woken once, and
    so is the loop. It is a daemon: a write that hangs does not keep the process from exiting.
    """

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
