"""The composition root: everything an application is made of is put together here."""

import asyncio
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import Route

from tessera.access.capacity import Capacity
from tessera.access.gate import Gate
from tessera.access.keys import KeyRing
from tessera.access.limits import Limiter, MemoryLimiter
from tessera.access.queue import Admission
from tessera.access.watch import EVERY_S, KeyWatch
from tessera.catalog import Catalog
from tessera.http.bodies import Bodies
from tessera.http.chat import ChatCompletions
from tessera.http.cors import Cors
from tessera.http.errors import refusing_routes
from tessera.http.inflight import InFlight
from tessera.http.limits import HttpLimits
from tessera.http.middleware import Envelope, KeyRequired
from tessera.http.models import model_routes
from tessera.http.ops import ops_routes
from tessera.http.usage import usage_route
from tessera.observe.metrics import Metrics
from tessera.observe.spans import Traces, Untraced
from tessera.usage.base import Ledger, Unrecorded


def build_app(
    catalog: Catalog,
    keys: KeyRing,
    limits: HttpLimits | None = None,
    capacity: Capacity | None = None,
    metrics: Metrics | None = None,
    limiter: Limiter | None = None,
    ledger: Ledger | None = None,
    traces: Traces | None = None,
    origins: Collection[str] = (),
    watch_s: float = EVERY_S,
) -> Starlette:
    """The ASGI application. `app.state` has its `in_flight`, `admission`, `bodies`, `metrics` and `limiter`.
    Without a `ledger` no usage is recorded. Web pages of the `origins` may use it. Every `watch_s` the keys
    of running requests are looked up again. At shutdown it closes the models, the limiter, the ledger and the
    traces.

    Engines may still be starting: until they are ready, /readyz and chat answer 503.
    """
    metrics, ledger, limits = metrics or Metrics(), ledger or Unrecorded(), limits or HttpLimits()
    in_flight, admission = InFlight(), Admission(capacity or Capacity(), metrics)
    bodies, watch = Bodies(limits, metrics), KeyWatch(keys, watch_s)
    limiter, traces = limiter or MemoryLimiter(), traces or Untraced()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        await ledger.start()
        watching = asyncio.create_task(watch.run())
        yield
        watching.cancel()
        bodies.decoding.close()
        await ledger.aclose()
        for model in {id(model): model for _, model in catalog.names()}.values():
            await model.aclose()
        await limiter.aclose()
        await traces.aclose()

    chat = ChatCompletions(catalog, admission, bodies, watch, limits, in_flight, metrics, ledger, traces)
    app = Starlette(
        routes=[
            Route("/v1/chat/completions", chat, methods=["POST"]),
            *model_routes(catalog),
            usage_route(ledger),
            *ops_routes(catalog, in_flight),
        ],
        middleware=[
            Middleware(Envelope, metrics=metrics),
            *([Middleware(Cors, origins=origins)] if origins else []),  # preflights have no key
            Middleware(KeyRequired, keys=keys, gate=Gate(limiter, metrics)),
        ],
        exception_handlers={HTTPException: refusing_routes("The service is POST /v1/chat/completions.")},
        lifespan=lifespan,
    )
    # A redirect would be built from the Host header, and a path with a slash too many is a 404.
    app.router.redirect_slashes = False
    app.state.in_flight, app.state.admission, app.state.metrics = in_flight, admission, metrics
    app.state.limiter, app.state.bodies = limiter, bodies
    return app
