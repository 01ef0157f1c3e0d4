"""The parts of the HTTP application that outlive a request, with their start and shutdown."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType

from tessera.access.capacity import Capacity
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
    """The optional parts have defaults that suit a program of one process.

    The service owns its parts: `aclose` closes the models, the limiter, the ledger and the traces.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        keys: KeyRing,
        limits: HttpLimits,
        capacities: Mapping[str, Capacity] = MappingProxyType({}),
        metrics: Metrics | None = None,
        limiter: Limiter | None = None,
        ledger: Ledger | None = None,
        traces: Traces | None = None,
        origins: Collection[str] = (),
        web: bool = False,
        watch_s: float = EVERY_S,
        resources: AsyncExitStack | None = None,
    ) -> None:
        """Without a `ledger` no usage is recorded. Web pages of the `origins` may use the service; with `web`
        it has pages of its own. The keys of running requests are checked every `watch_s`. `capacities` are by
        the ids of models. `resources` are closed last.
        """
        self.catalog = catalog
        self.keys = keys
        self.limits = limits
        self.metrics = metrics or Metrics()
        self.limiter = limiter or MemoryLimiter()
        self.ledger = ledger or Unrecorded()
        self._traces = traces
        self.record_readers = tuple(filter(None, (RequestMetrics(self.metrics), traces)))
        self.origins = origins
        self.web = web
        self.in_flight = InFlight()
        self.queues = {
            model.id: EngineQueue(capacities.get(model.id) or Capacity(), self.metrics)
            for model in catalog.models()
        }
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
        for model in self.catalog.models():
            await model.aclose()
        await self.limiter.aclose()
        if self._traces:
            await self._traces.aclose()
        await self._resources.aclose()
