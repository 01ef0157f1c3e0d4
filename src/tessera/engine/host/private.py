"""An engine together with its process, for a program that shares it with no other."""

import asyncio

from tessera.engine.host.client import HostedEngine
from tessera.engine.host.process import EngineProcess


class PrivateEngine(HostedEngine):
    """An `Engine` that owns the process in which it computes."""

    def __init__(self, process: EngineProcess) -> None:
        super().__init__(process.path, process.served)
        self.process = process
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Starts the process, which is restarted from then on if it dies."""
        self._running = asyncio.create_task(self._run())
        try:
            await self.ready()
        except BaseException:
            await self.aclose()
            self._running.result()  # why it did not start
            raise

    async def aclose(self) -> None:
        """Ends the process, too."""
        await super().aclose()
        await self.process.aclose()
        if self._running:
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        """Closes the engine when its process is given up."""
        self.connect()
        try:
            await self.process.run(lambda: None)
        finally:
            await super().aclose()
