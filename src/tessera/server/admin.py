"""The admin listener: a second HTTP server in the parent process, on an address of its own."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.routing import Route

from tessera.access.keys import KeyHasher
from tessera.http.admin.routes import admin_routes
from tessera.observe.exposition import ParentMetrics
from tessera.observe.logs import log
from tessera.server.budget_watch import watching_budgets
from tessera.server.draining import SignalFreeServer
from tessera.server.http1.protocol import GuardedProtocol
from tessera.server.migrating import prepared
from tessera.server.wiring import tiers
from tessera.settings import Settings

_logger = logging.getLogger(__name__)


@asynccontextmanager
async def serving_admin(
    app: Callable[..., Any], listener: socket.socket | None, options: Mapping[str, Any]
) -> AsyncGenerator[None]:
    """Serves `app` on the socket while the context lasts; without a socket it serves nothing. `options` are
    uvicorn's.
    """
    if listener is None:
        yield
        return
    server = SignalFreeServer(uvicorn.Config(app, http=GuardedProtocol, lifespan="off", **options))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def using_store(
    settings: Settings, hasher: KeyHasher, metrics: ParentMetrics
) -> AsyncGenerator[list[Route]]:
    """Migrates the store and watches its budgets; yields the routes of the admin API that need it."""
    async with prepared(settings) as store, watching_budgets(settings, store, metrics):
        yield admin_routes(store, tiers(settings), hasher)


@asynccontextmanager
async def without_store() -> AsyncGenerator[list[Route]]:
    """Says that there is no store, so that no route needs one."""
    log(_logger, "warning", "no store: usage is not recorded, and the only key is that of the operator")
    yield []
