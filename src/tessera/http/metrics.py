"""GET /metrics, for the admin listener: it asks for no key, so it must not be reached from outside."""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.metrics import CONTENT_TYPE


def admin_app(exposition: Callable[[], bytes]) -> Starlette:
    """The application of the admin listener; `exposition` gives the metrics as they are now."""

    async def metrics(request: Request) -> Response:
        # Several processes' counts are read from files.
        body = await asyncio.to_thread(exposition)
        return Response(body, headers={"Content-Type": CONTENT_TYPE})

    async def healthz(request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    return Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz)])
