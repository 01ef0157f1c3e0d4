"""The service as an ASGI application, for programs that bring an HTTP server of their own.

`tessera serve` does more: its connections have caps and deadlines below ASGI, it drains at shutdown, and it
can run several API processes. An HTTP server must not take the trailers of a chunked body for fields of the
head, since a key could be among them: uvicorn's h11 parser keeps them apart, its httptools parser does not.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from tessera.http.app import build_app
from tessera.models.progress import Quiet
from tessera.observe.exposition import ParentMetrics
from tessera.server.budget_watch import check_webhook, watching_budgets
from tessera.server.migrating import prepared
from tessera.server.models import private_catalog
from tessera.server.storage import former_pepper, pepper
from tessera.server.wiring import wire_service
from tessera.settings import Settings


def create_app(settings: Settings) -> Starlette:
    """Return the application of these settings. Its lifespan starts and closes the engines and the store, so
    the HTTP server must run it.

    A model that is not in the cache is fetched first. Without an `api_key` only keys of the store are valid.
    Raises `StartupError` and `ModelError`.
    """
    catalog = private_catalog(settings, Quiet())
    check_webhook(settings)
    app = build_app(wire_service(settings, catalog, pepper(settings), former_pepper(settings)))
    serving = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        own = ParentMetrics()
        async with prepared(settings) as store, watching_budgets(settings, store, own), serving(app):
            await asyncio.gather(*(model.start() for model in catalog.models()))
            yield

    app.router.lifespan_context = lifespan
    return app
