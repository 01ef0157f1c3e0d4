"""Waiting for what has no event to wait for: another process, another thread."""

import asyncio
import time
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], within_s: float = 180.0) -> None:
    """Returns when the condition holds."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < within_s, "it never came to be"
        time.sleep(0.002)


async def until(condition: Callable[[], bool], within_s: float = 180.0) -> None:
    """Returns when the condition holds; other tasks of the loop run meanwhile."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
