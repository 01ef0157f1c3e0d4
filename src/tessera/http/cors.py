"""Which web pages may use the service: CORS, for the origins that the operator names.

Before a browser sends the request of another site's page, it sends a preflight, which has no key. And
a browser hides from the page every response, errors and streams included, that lacks certain headers. `Cors`
leaves them in the request's context: `Envelope` adds them, since it sees every response.
"""

import re
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.http.context import context_of

METHODS = "GET, POST"
PREFLIGHT_S = 600
"""A browser may cache the answer to a preflight for so long."""

EXPOSED = (
    "Retry-After",
    "X-RateLimit-Limit-Requests",
    "X-RateLimit-Remaining-Requests",
    "X-RateLimit-Reset-Requests",
    "X-Request-Id",
    "X-Should-Retry",
    "X-Tessera-Ignored-Params",
)
"""Headers of ours that pages may read, beside those that they may read of every response."""

_HEADER_NAMES = re.compile(r"[A-Za-z0-9_, -]{1,4096}")


class Cors:
    """Answers preflights from `origins`, of which "*" is any, and prepares the headers of other requests."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Requests of other origins are passed on as if there were no CORS."""
        if scope["type"] == "http":
            asked = Headers(scope=scope)
            context_of(scope).cors_headers = self._headers(asked.get("origin"))
            if self._allows(asked.get("origin")) and _is_preflight(scope, asked):
                await Response(status_code=204, headers=_preflight_headers(asked))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _allows(self, origin: str | None) -> bool:
        return origin is not None and not self._origins.isdisjoint((origin, "*"))

    def _headers(self, origin: str | None) -> list[tuple[bytes, bytes]]:
        is_any = "*" in self._origins
        vary = [] if is_any else [(b"vary", b"Origin")]
        shown = "*" if is_any else origin
        if shown is None or not self._allows(origin):
            return vary
        exposed = ", ".join(EXPOSED).encode()
        return [
            *vary,
            (b"access-control-allow-origin", shown.encode()),
            (b"access-control-expose-headers", exposed),
        ]


def _is_preflight(scope: Scope, asked: Headers) -> bool:
    return scope["method"] == "OPTIONS" and "access-control-request-method" in asked


def _preflight_headers(asked: Headers) -> dict[str, str]:
    """All headers that the page wants to send are allowed: client libraries add many of their own."""
    headers = {"Access-Control-Allow-Methods": METHODS, "Access-Control-Max-Age": str(PREFLIGHT_S)}
    if _HEADER_NAMES.fullmatch(names := asked.get("access-control-request-headers", "")):
        headers["Access-Control-Allow-Headers"] = names
    if asked.get("access-control-request-private-network") == "true":
        headers["Access-Control-Allow-Private-Network"] = "true"
    return headers
