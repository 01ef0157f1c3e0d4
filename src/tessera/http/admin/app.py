"""The admin listener's application: the metrics, which need no key, so the listener must not be reachable
from outside; and the admin API, which needs the admin key.
"""

import asyncio
import hmac
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.access.keys import bearer
from tessera.errors import AuthenticationError, InvalidApiKey
from tessera.http.errors import refusing_routes
from tessera.http.middleware import Envelope, log_refused_key
from tessera.http.web.pages import Pages
from tessera.http.web.site import Site
from tessera.observe.exposition import CONTENT_TYPE

OPEN_PATHS = frozenset({"/metrics", "/healthz"})
_WHAT_IS_THERE = "Here are /metrics, and /admin if TESSERA_ADMIN_KEY is set."


def admin_app(
    exposition: Callable[[], bytes],
    key: str | None = None,
    routes: Sequence[BaseRoute] = (),
    site: Site | None = None,
) -> Starlette:
    """`exposition` returns the metrics as they are now. Without a `key` there are no `routes` and no `site`,
    whose pages need no key: they ask for it, and send it with what they ask the routes.
    """
    one_at_a_time = asyncio.Semaphore()

    async def metrics(request: Request) -> Response:
        # In a thread: the counts of several processes are read from files. In one only, of those that all
        # parts of the process share: anyone may ask.
        async with one_at_a_time:
            body = await asyncio.to_thread(exposition)
        return Response(body, headers={"Content-Type": CONTENT_TYPE})

    async def healthz(request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    app = Starlette(
        routes=[Route("/metrics", metrics), Route("/healthz", healthz), *(routes if key else ())],
        middleware=[
            Middleware(Envelope),
            *([Middleware(Pages, site=site)] if key and site else []),
            *([Middleware(AdminKeyRequired, key=key)] if key else []),
        ],
        exception_handlers={HTTPException: refusing_routes(_WHAT_IS_THERE)},
    )
    app.router.redirect_slashes = False
    return app


class AdminKeyRequired:
    """Rejects every request without the admin key, also to paths that do not exist; only `OPEN_PATHS` need
    none.
    """

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `AuthenticationError` or `InvalidApiKey`."""
        if scope["type"] == "http" and scope["path"] not in OPEN_PATHS:
            try:
                self._check(Headers(scope=scope).get("authorization"))
            except AuthenticationError as error:
                log_refused_key("admin key refused", error, scope)
                raise
        await self._app(scope, receive, send)

    def _check(self, authorization: str | None) -> None:
        if not hmac.compare_digest(bearer(authorization).encode(), self._key):
            raise InvalidApiKey(
                "Incorrect API key provided: only that of TESSERA_ADMIN_KEY is accepted here."
            )
