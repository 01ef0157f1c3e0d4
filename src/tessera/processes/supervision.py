"""What dies is started again: after a pause that grows, and not for ever."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn, TypeAlias, TypeVar

from tessera.errors import EngineUnavailable
from tessera.observe.logs import log

T = TypeVar("T")

_logger = logging.getLogger(__name__)

FIRST_DELAY_S, LAST_DELAY_S = 0.5, 30.0
# What lived for so long did not die of how it was started.
HEALTHY_S = 60.0
MOST_RESTARTS, WITHIN_S = 5, 600.0


class Pauses:
    """Before what died is started again: each twice as long as the last, until something has lived long."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._next_s = FIRST_DELAY_S

    def after(self, lived_s: float) -> float:
        """How many seconds to wait after so many of life."""
        if lived_s > HEALTHY_S:
            self._next_s = FIRST_DELAY_S
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, self._longest_s)
        return pause_s


async def patiently(wait: Callable[[], Awaitable[T]], n_looks: int, look_s: float) -> T:
    """What `wait` gives, which is begun anew with each look; raises `TimeoutError` if none saw anything.

    Silence is counted in looks, not by the clock: while this process does not run itself, nobody is late.
    """
    for _ in range(n_looks):
        with suppress(TimeoutError):
            return await asyncio.wait_for(wait(), look_s)
    raise TimeoutError


@dataclass(frozen=True, slots=True)
class Death:
    """How an engine ended, and for how long it had been ready; None if it never was."""

    cause: str
    ready_s: float | None


Life: TypeAlias = Callable[[Callable[[], None]], Awaitable[Death]]
"""Starts an engine, calls what it is given when that is ready, and returns when it has ended."""


async def supervise(live: Life, started: Callable[[], None]) -> NoReturn:
    """Let an engine live again and again; `started` is called once, when it is first ready.

    Raises `EngineUnavailable` if the first life ends before that, which will not get better by itself, or
    when so many restarts in so short a time have not helped.
    """
    death = await live(started)
    if death.ready_s is None:
        raise EngineUnavailable(f"The engine did not start: it {death.cause}.")
    restarts: deque[float] = deque(maxlen=MOST_RESTARTS)
    pauses = Pauses(LAST_DELAY_S)
    while True:
        if len(restarts) == MOST_RESTARTS and time.monotonic() - restarts[0] < WITHIN_S:
            raise EngineUnavailable(
                f"The engine {death.cause}, after {MOST_RESTARTS} restarts within {WITHIN_S:g} seconds."
            )
        delay_s = pauses.after(death.ready_s or 0.0)
        log(_logger, "error", "engine died", cause=death.cause, restart_in_s=delay_s)
        await asyncio.sleep(delay_s)
        restarts.append(time.monotonic())
        death = await live(lambda: log(_logger, "info", "engine restarted"))
