"""The admin listener of a cluster, in the process of the command: metrics, console and admin API of all
replicas.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tessera.access.keys import KeyHasher
from tessera.cluster.applications import broadcast
from tessera.http.admin.app import admin_app
from tessera.http.admin.requests import Shown
from tessera.http.web.site import CONSOLE, Site
from tessera.observe.exposition import ParentMetrics, merged
from tessera.server.admin import admin_api, serving_admin
from tessera.server.api import uvicorn_options
from tessera.server.parent import check_admin_key
from tessera.server.sockets import address, bind, listen
from tessera.server.storage import former_pepper, pepper
from tessera.settings import Settings


class RequestsOfReplicas:
    """`RequestsInFlight` of all replicas of a service."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def show(self) -> list[Shown]:
        return await self._ask()

    async def cancel(self, id: str) -> list[Shown]:
        return await self._ask(id)

    async def _ask(self, *arguments: str) -> list[Shown]:
        answers = await asyncio.to_thread(broadcast, self._name, "requests", *arguments)
        return [row for rows in answers.values() for of_replica in rows for row in of_replica]


@asynccontextmanager
async def serving(settings: Settings, name: str) -> AsyncGenerator[str]:
    """Serves on the admin address of the settings; yields the URL. Raises `StartupError`."""
    assert settings.admin_port is not None
    check_admin_key(settings)

    def metrics() -> bytes:
        answers = broadcast(name, "metrics")
        return merged({f"{app}#{id}": text for app, rows in answers.items() for id, text in rows})

    hasher = KeyHasher(pepper(settings), former_pepper(settings))
    with bind(settings.admin_host, settings.admin_port, "--admin-host and --admin-port") as listener:
        listen(listener)
        requests = RequestsOfReplicas(name)
        async with admin_api(settings, hasher, ParentMetrics(), requests, stores=True) as routes:
            site = Site(CONSOLE) if settings.web and settings.admin_key else None
            app = admin_app(metrics, settings.admin_key, routes, site)
            async with serving_admin(app, listener, uvicorn_options(settings)):
                yield address(listener)
