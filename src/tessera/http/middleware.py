"""Middleware around all requests: their ids, errors as answers, and keys."""

import logging
import re
import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tessera.access.keys import KeyRing
from tessera.access.limits import Limiter
from tessera.access.permit import Permit
from tessera.errors import AuthenticationError
from tessera.http.context import client_address, context_of
from tessera.http.errors import ClientGone, error_response, presentable
from tessera.observe.logs import log_repeating
from tessera.observe.metrics import Metrics

PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
_logger = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Envelope:
    """Names each request, turns whatever is raised into an answer, and counts answers by status. An answer to
    a valid key also says where the account stands.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics | None = None) -> None:
        self._app = app
        self._responses = metrics.responses if metrics else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = context_of(scope)
        sent = Headers(scope=scope).get("x-request-id", "")
        context.request_id = sent if _REQUEST_ID.fullmatch(sent) else new_request_id()
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._responses:
                    self._responses.labels(str(message["status"])).inc()
                headers = [*message.get("headers", ()), (b"x-request-id", context.request_id.encode())]
                headers += context.cors_headers
                if context.permit:
                    headers += await context.permit.headers()
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except ClientGone:
            return
        except Exception as error:
            shown = presentable(error, context.request_id)
            if not started:
                await error_response(shown)(scope, receive, send_named)


class KeyRequired:
    """Rejects every request without a valid key, also to paths that do not exist; only `PUBLIC_PATHS` need
    none. The path is the one that is routed, never a rebuilt URL. Raises what `KeyRing.identify` raises.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, limiter: Limiter, metrics: Metrics) -> None:
        self._app = app
        self._keys = keys
        self._limiter = limiter
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            authorization = Headers(scope=scope).get("authorization")
            try:
                identity = await self._keys.identify(authorization)
            except AuthenticationError as error:
                log_refused_key("key refused", error, scope)
                raise
            context_of(scope).permit = Permit(self._limiter, self._metrics, identity, authorization)
        await self._app(scope, receive, send)


def log_refused_key(event: str, error: AuthenticationError, scope: Scope) -> None:
    """Logs a request that is answered with 401. If there are very many, only some of them are logged."""
    trace_id, client = context_of(scope).request_id, client_address(scope)
    log_repeating(
        _logger, "warning", event, str(error.code), trace_id=trace_id, code=error.code, client=client
    )


def new_request_id() -> str:
    """For a request whose client sent no usable `X-Request-Id`."""
    return "req_" + secrets.token_hex(12)
