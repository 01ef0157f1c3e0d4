"""Restarts a process that died, after pauses that grow, and gives up in the end."""

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

FIRST_DELAY_S = 0.5
LAST_DELAY_S = 30.0
# If a process has lived for so long, its start is not the cause of its exit.
HEALTHY_S = 60.0
MOST_RESTARTS = 5
WITHIN_S = 600.0


class Pauses:
    """The pauses before restarts: each twice as long as the last, until a process has lived long."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._next_s = FIRST_DELAY_S

    def after(self, lived_s: float) -> float:
        """How many seconds to wait after a life of `lived_s`."""
        if lived_s > HEALTHY_S:
            self._next_s = FIRST_DELAY_S
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, self._longest_s)
        return pause_s


async def wait_for_answer(wait: Callable[[], Awaitable[T]], n_looks: int, look_s: float) -> T:
    """The result of `wait`, which is called anew for each look; raises `TimeoutError` if all looks time out.

    Silence is counted in looks and not by the clock: a child is not late while this process itself was
    suspended.
    """
    for _ in range(n_looks):
        with suppress(TimeoutError):
            return await asyncio.wait_for(wait(), look_s)
    raise TimeoutError


@dataclass(frozen=True, slots=True)
class ProcessExit:
    """How an engine's process ended, and for how long it had been ready; None if it never was."""

    cause: str
    ready_s: float | None


RunProcess: TypeAlias = Callable[[Callable[[], None]], Awaitable[ProcessExit]]
"""Runs an engine's process to its end; calls its argument when the engine is ready."""


async def supervise(
    run_process: RunProcess, started: Callable[[], None], *, model: str, gives_up: bool = True
) -> NoReturn:
    """Runs the process of a model's engine again and again; calls `started` once, when it is first ready.

    Raises `EngineUnavailable` if the first one ends before that, because a restart would not help, and, if it
    `gives_up`, after MOST_RESTARTS restarts within WITHIN_S.
    """
    exit = await run_process(started)
    if exit.ready_s is None:
        raise EngineUnavailable(f"The engine did not start: it {exit.cause}.")
    restarts: deque[float] = deque(maxlen=MOST_RESTARTS)
    pauses = Pauses(LAST_DELAY_S)
    while True:
        if gives_up and len(restarts) == MOST_RESTARTS and time.monotonic() - restarts[0] < WITHIN_S:
            raise EngineUnavailable(
                f"The engine {exit.cause}, after {MOST_RESTARTS} restarts within {WITHIN_S:g} seconds."
            )
        delay_s = pauses.after(exit.ready_s or 0.0)
        log(_logger, "error", "engine died", model=model, cause=exit.cause, restart_in_s=delay_s)
        await asyncio.sleep(delay_s)
        restarts.append(time.monotonic())
        exit = await run_process(lambda: log(_logger, "info", "engine restarted", model=model))
