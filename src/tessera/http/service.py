"""The parts of the HTTP application that outlive a request, with their start and shutdown."""

import asyncio
from collections.abc import Collection
from contextlib import AsyncExitStack

from tessera.access.capacity import Capacity
from tessera.access.gate import Gate
from tessera.access.keys import KeyRing
from tessera.access.limits import Limiter, MemoryLimiter
from tessera.access.queue import EngineQueue
from tessera.access.watch import EVERY_S, KeyWatch
from tessera.catalog import Catalog
from tessera.http.bodies import Bodies
from tessera.http.inflight import InFlight
from tessera.http.limits import HttpLimits
from tessera.observe.metrics import Metrics
from tessera.observe.requests import RequestMetrics
from tessera.observe.spans import Traces
from tessera.usage.base import Ledger, Unrecorded


class Service:
    """Only `catalog` and `keys` are required; the defaults of the other parts suit a program of one process.

    The service owns its parts: `aclose` closes the models, the limiter, the ledger and the traces.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        keys: KeyRing,
        limits: HttpLimits | None = None,
        capacity: Capacity | None = None,
        metrics: Metrics | None = None,
        limiter: Limiter | None = None,
        ledger: Ledger | None = None,
        traces: Traces | None = None,
        origins: Collection[str] = (),
        web: bool = False,
        watch_s: float = EVERY_S,
        resources: AsyncExitStack | None = None,
    ) -> None:
        """Without a `ledger` no usage is recorded. Web pages of the `origins` may use the service;
        with `web` it has pages of its own. The keys of running requests are checked every `watch_s`.
        `resources` are closed last.
        """
        self.catalog = catalog
        self.keys = keys
        self.limits = limits or HttpLimits()
        self.metrics = metrics or Metrics()
        self.limiter = limiter or MemoryLimiter()
        self.gate = Gate(self.limiter, self.metrics)
        self.ledger = ledger or Unrecorded()
        self._traces = traces
        self.record_readers = tuple(filter(None, (RequestMetrics(self.metrics), traces)))
        self.origins = origins
        self.web = web
        self.in_flight = InFlight()
        self.queue = EngineQueue(capacity or Capacity(), self.metrics)
        self.bodies = Bodies(self.limits, self.metrics)
        self.watch = KeyWatch(keys, watch_s)
        self._resources = resources or AsyncExitStack()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Called in the event loop that answers requests."""
        await self.ledger.start()
        self._watching = asyncio.create_task(self.watch.run())

    async def aclose(self) -> None:
        """Writes the usage first, then closes everything else."""
        if self._watching:
            self._watching.cancel()
        self.bodies.decoding.close()
        await self.ledger.aclose()
        for model in {id(model): model for _, model in self.catalog.names()}.values():
            await model.aclose()
        await self.limiter.aclose()
        if self._traces:
            await self._traces.aclose()
        await self._resources.aclose()
