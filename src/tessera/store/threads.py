"""Calls of the store from an event loop: in threads, with a timeout."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from tessera.errors import StoreUnavailable

T = TypeVar("T")

CLOSING_S = 1.0


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
