"""An engine in a process of its own is started again when it dies."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from tessera.errors import EngineError
from tessera.telemetry import log

_logger = logging.getLogger(__name__)

LOOK_EVERY_S = 0.2
FIRST_DELAY_S, LAST_DELAY_S = 0.5, 30.0
# An engine that lived this long did not die of how it was started.
HEALTHY_S = 60.0


class Startable(Protocol):
    """An engine that has to be started, and can be more than once."""

    async def start(self) -> None:
        """Return when it is ready; raises `EngineError` if that fails."""
        ...

    def unready(self) -> str | None:
        """None while it lives, `engine_closed` when it is not wanted any more."""
        ...


async def supervise(engine: Startable, started: Callable[[], None]) -> None:
    """Keep the engine running until it is closed; `started` is called once, when it first is.

    Raises `EngineError` if the first start fails: that will not get better by itself.
    """
    await engine.start()
    started()
    delay_s = FIRST_DELAY_S
    while True:
        begun = time.monotonic()
        while engine.unready() is None:  # noqa: ASYNC110 - engines are asked, they announce nothing
            await asyncio.sleep(LOOK_EVERY_S)
        if engine.unready() == "engine_closed":
            return
        if time.monotonic() - begun > HEALTHY_S:
            delay_s = FIRST_DELAY_S
        log(_logger, "error", "engine died", restart_in_s=delay_s)
        await asyncio.sleep(delay_s)
        delay_s = min(2 * delay_s, LAST_DELAY_S)
        try:
            await engine.start()
            log(_logger, "info", "engine restarted")
        except EngineError:
            log(_logger, "error", "engine did not start")
