"""What surrounds every request: an id, an answer to every error, and the key."""

import re
import secrets

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tessera.access.gate import Gate, Visit
from tessera.access.keys import KeyRing
from tessera.http.errors import ClientGone, error_response, presentable
from tessera.observe.metrics import Metrics

PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


class Envelope:
    """Names each request (`scope["state"]["request_id"]`), turns whatever is raised into an answer, counts
    the answers, and tells whoever has a valid key where the account stands.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics | None = None) -> None:
        self._app = app
        self._responses = metrics.responses if metrics else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get("x-request-id"))
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._responses:
                    self._responses.labels(str(message["status"])).inc()
                own = [(b"x-request-id", request_id.encode()), *scope["state"].get("cors", ())]
                named = [*message.get("headers", ()), *own]
                visit: Visit | None = scope["state"].get("visit")
                message["headers"] = [*named, *await visit.headers()] if visit else named
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except ClientGone:
            return
        except Exception as error:
            shown = presentable(error, request_id)
            if not started:
                await error_response(shown)(scope, receive, send_named)


class KeyRequired:
    """Lets no request through without a valid key, except to `PUBLIC_PATHS`: also none to paths that do not
    exist. The path is the one that is routed, never a rebuilt URL.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, gate: Gate) -> None:
        self._app = app
        self._keys = keys
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the caller's identity and `Visit` into `scope["state"]`, or raise what `KeyRing.identify`
        raises.
        """
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            authorization = Headers(scope=scope).get("authorization")
            scope["state"]["identity"] = identity = await self._keys.identify(authorization)
            scope["state"]["visit"] = self._gate.visit(identity, authorization)
        await self._app(scope, receive, send)


def new_request_id() -> str:
    """For a request that names itself badly or not at all."""
    return "req_" + secrets.token_hex(12)


def _request_id(sent: str | None) -> str:
    return sent if sent and _REQUEST_ID.fullmatch(sent) else new_request_id()
