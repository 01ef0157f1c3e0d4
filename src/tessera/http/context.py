"""What is known of a request on its way through the layers of HTTP: one `RequestContext` in its ASGI scope.

Each layer sets its part: the server's protocol class the connection, `Envelope` the id, `Cors` its headers,
`KeyRequired` the caller. Servers other than ours set nothing; then `Envelope` makes the context.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple, TypeAlias

from starlette.types import Scope

from tessera.access.permit import Permit

Abort: TypeAlias = Callable[[], None]
"""Aborts the connection. Closing it would wait for ever for a client that does not read."""

WriteNow: TypeAlias = Callable[[bytes], bool]
"""Writes a part of a response that has begun, or returns False: use `send`, which can wait."""

UNKNOWN = "unknown"
_KEY = "tessera.context"


class NamedReply(NamedTuple):
    """The id of a reply and its Unix time, where a front in front of the servers has chosen them.

    A front that asks a second server for a reply, since the first one was lost, gives the same id: the ledger
    then has one row, and the limits count one request.
    """

    id: str
    created_s: int


@dataclass(slots=True)
class RequestContext:
    """`abort` and `write_now` are None where the server does not offer them. `received_s` is monotonic.
    Without a `reply` the server names its replies itself.
    """

    abort: Abort | None = None
    write_now: WriteNow | None = None
    request_id: str = ""
    received_s: float = field(default_factory=time.monotonic)
    cors_headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    permit: Permit | None = None
    reply: NamedReply | None = None

    @property
    def required_permit(self) -> Permit:
        """The permit of a request behind `KeyRequired`."""
        assert self.permit is not None, "KeyRequired lets nobody through without a key"
        return self.permit


def context_of(scope: Scope) -> RequestContext:
    """The request's context, made here if it is missing."""
    context: RequestContext | None = scope.get(_KEY)
    if context is None:
        context = scope[_KEY] = RequestContext()
    return context


def client_address(scope: Scope) -> str:
    """The client's IP address, for logs and the audit; behind a trusted proxy, the one that the proxy has
    forwarded. `unknown` for anything that is no address, which a client may have written.
    """
    client = scope.get("client")
    try:
        return str(ip_address(client[0])) if client else UNKNOWN
    except ValueError:
        return UNKNOWN
