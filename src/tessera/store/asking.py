"""The store asked from an event loop: in threads, and not waited for longer than was said."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from tessera.errors import StoreUnavailable

T = TypeVar("T")


async def ask(threads: Executor, call: Callable[[], T], within_s: float) -> T:
    """What the call gives. Raises what it raises, or `StoreUnavailable` when the time is up; the thread is
    then busy until the driver gives up.
    """
    try:
        async with asyncio.timeout(within_s):
            return await asyncio.get_running_loop().run_in_executor(threads, call)
    except TimeoutError as error:
        raise StoreUnavailable("The store does not answer in time. Send the request again.") from error
