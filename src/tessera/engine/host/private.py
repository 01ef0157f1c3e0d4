"""An engine and its process in one: for a program that shares it with nobody."""

import asyncio
from collections.abc import Sequence

from tessera.engine.host.client import OpenVinoEngine
from tessera.engine.host.process import WORKER_COMMAND, EngineProcess
from tessera.engine.openvino.config import WorkerConfig


class PrivateEngine(OpenVinoEngine):
    """An `Engine` that owns the process which does its work."""

    def __init__(
        self, config: WorkerConfig, *, hang_s: float = 30.0, command: Sequence[str] = WORKER_COMMAND
    ) -> None:
        """Nothing runs before `start`; see `EngineProcess`."""
        self.process = EngineProcess(config, hang_s=hang_s, command=command)
        super().__init__(self.process.path, config.served())
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return when it is ready; from then on it is started again if it dies.

        Raises `EngineUnavailable` if it does not start.
        """
        self._running = asyncio.create_task(self._run())
        try:
            await self.ready()
        except BaseException:
            await self.aclose()
            self._running.result()  # why it did not start
            raise

    async def aclose(self) -> None:
        """End the process and all generations."""
        await super().aclose()
        await self.process.aclose()
        if self._running:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        """When the process is given up, so is everything that waits for it."""
        self.connect()
        try:
            await self.process.run(lambda: None)
        finally:
            await super().aclose()
