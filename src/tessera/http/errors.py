"""Turns errors into HTTP responses. No other module does."""

import logging
import math
import traceback
from collections.abc import Awaitable, Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tessera.core.record import CLIENT_GONE
from tessera.errors import EndpointNotFound, MethodNotAllowed, RequestError, TesseraError
from tessera.wire.reply import encode_error

_LONGEST_WAIT_S = 60

_logger = logging.getLogger(__name__)


class ClientGone(Exception):
    """The client left, or does not read: there is nobody to answer."""

    code = CLIENT_GONE


def presentable(error: Exception, request_id: str) -> TesseraError:
    """The error as the client may see it. A bug is logged, without values, and shown as its request id
    only.
    """
    if isinstance(error, TesseraError):
        if error.status >= 500:
            _logger.warning("request %s failed: %s", request_id, error.code)
        return error
    trace = "".join(traceback.format_tb(error.__traceback__))
    _logger.error("request %s met a bug: %s\n%s", request_id, type(error).__name__, trace)
    return TesseraError(
        f"The server made a mistake. Report the request id {request_id}.", code="internal_error"
    )


def error_response(error: TesseraError, extra: Mapping[str, str] | None = None) -> Response:
    """The error's envelope, with the headers that tell clients whether and when to retry."""
    headers = dict(extra or {})
    # Clients retry within a minute at most, which would be too early.
    too_early = error.retry_after_s is not None and error.retry_after_s > _LONGEST_WAIT_S
    if too_early or (not error.retryable and error.status < 500):
        headers["x-should-retry"] = "false"
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 408:
        headers["Connection"] = "close"  # the rest of the body is still to come
    return Response(encode_error(error), error.status, headers, "application/json")


def refusing_routes(what_is_there: str) -> Callable[[Request, Exception], Awaitable[Response]]:
    """An exception handler that puts Starlette's own errors (404, 405) into our envelope."""

    async def refuse(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException), "registered for this class"
        path = request.scope["path"][:200]
        method = request.method
        refusal: RequestError
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            refusal = MethodNotAllowed(f"{path} does not take {method}. Send {allowed}.")
        else:
            refusal = EndpointNotFound(f"There is nothing at {path}. {what_is_there}")
        return error_response(refusal, error.headers)

    return refuse
