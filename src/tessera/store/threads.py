"""Calls of the store from an event loop: in threads, with a timeout."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from tessera.errors import StoreUnavailable

T = TypeVar("T")


async def call_within(threads: Executor, call: Callable[[], T], within_s: float) -> T:
    """The result of `call`. Raises what it raises, or `StoreUnavailable` after `within_s`; the thread stays
    busy until the driver's own timeout.
    """
    try:
        async with asyncio.timeout(within_s):
            return await asyncio.get_running_loop().run_in_executor(threads, call)
    except TimeoutError as error:
        raise StoreUnavailable("The store does not answer in time. Send the request again.") from error
