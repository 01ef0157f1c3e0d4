"""The body of a request: JSON, uncompressed, capped, and in time."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from tessera.errors import BodyTimeout, BodyTooLarge, UnsupportedMediaType
from tessera.http.errors import ClientGone
from tessera.http.limits import HttpLimits


async def read_body(scope: Scope, receive: Receive, limits: HttpLimits) -> bytes:
    """The whole body. Raises `UnsupportedMediaType`, `BodyTooLarge`, `BodyTimeout` or `ClientGone`."""
    headers = Headers(scope=scope)
    _check_type(headers)
    declared = headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limits.max_body_bytes:
        raise _too_large(limits)
    try:
        async with asyncio.timeout(limits.body_deadline_s):
            return await _receive(receive, limits)
    except TimeoutError:
        raise BodyTimeout(
            f"The body did not arrive within {limits.body_deadline_s:g} s. Send the request again."
        ) from None


async def _receive(receive: Receive, limits: HttpLimits) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limits.max_body_bytes:
            raise _too_large(limits)
        if not message.get("more_body", False):
            return bytes(body)


def _check_type(headers: Headers) -> None:
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("Compressed bodies are not taken: leave out Content-Encoding.")
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise UnsupportedMediaType("Send the body as JSON with Content-Type: application/json.")


def _too_large(limits: HttpLimits) -> BodyTooLarge:
    return BodyTooLarge(f"The body is larger than {limits.max_body_bytes} bytes. Send less.")
