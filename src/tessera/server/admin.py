"""The admin listener: a second HTTP server in the parent process, on an address of its own."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tessera.server.draining import SignalFreeServer
from tessera.server.http1.protocol import GuardedProtocol


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
