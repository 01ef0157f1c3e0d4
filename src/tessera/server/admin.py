"""The admin listener: a second HTTP server in the parent process, on an address of its own."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import uvicorn
from starlette.routing import Route

from tessera.access.keys import KeyHasher
from tessera.http.admin.requests import RequestsInFlight, Shown, request_routes
from tessera.http.admin.routes import admin_routes
from tessera.observe.exposition import ParentMetrics
from tessera.observe.logs import log
from tessera.operator import actions
from tessera.server.budget_watch import watching_budgets
from tessera.server.draining import SignalFreeServer
from tessera.server.http1.protocol import GuardedProtocol
from tessera.server.migrating import prepared
from tessera.server.wiring import tiers
from tessera.settings import Settings
from tessera.store.database import Database, transaction

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
async def admin_api(
    settings: Settings, hasher: KeyHasher, metrics: ParentMetrics, requests: RequestsInFlight, *, stores: bool
) -> AsyncGenerator[list[Route]]:
    """Yields the routes of the admin API. If the server `stores`, migrates the store and watches its budgets;
    if not, says so, and yields the routes that need no store.
    """
    if not stores:
        log(_logger, "warning", "no store: usage is not recorded, and the only key is that of the operator")
        yield request_routes(requests)
        return
    async with prepared(settings) as store, watching_budgets(settings, store, metrics):
        routes = admin_routes(store, tiers(settings), hasher)
        yield [*routes, *request_routes(requests, partial(_record_cancellations, store))]


def _record_cancellations(store: Database, ended: Sequence[Shown], by: str) -> None:
    with transaction(store) as connection:
        actions.record_cancellations(connection, ended, by=by)
