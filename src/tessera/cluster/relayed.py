"""What a front says of a request to the replica that it relays it to, in a signed header.

The front chooses the id of the reply. If it has to ask another replica, since the first one was lost, it
gives the same id, so that the request is one row of the ledger and counts once in the limits. The key is
derived from the pepper, which clients do not know: what they send under this name is ignored.
"""

import hashlib
import hmac
import time
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.cluster.holds import Holds
from tessera.http.context import UNKNOWN, NamedReply, context_of
from tessera.wire.reply import new_id

HEADER = "x-tessera-relayed"


@dataclass(frozen=True, slots=True)
class Relayed:
    """`hold` is what the replica has called the request; `client` is the address of who sent it."""

    hold: str
    reply: NamedReply
    client: str = UNKNOWN


def new_reply() -> NamedReply:
    """The name of a reply that begins now."""
    now_s = time.time()
    return NamedReply(new_id(now_s), int(now_s))


def relay_key(pepper: bytes) -> bytes:
    """The key that all fronts and replicas of a service have."""
    return hmac.digest(pepper, b"relayed requests", hashlib.sha256)


def sign(key: bytes, relayed: Relayed) -> str:
    """The value of the header."""
    said = f"{relayed.hold} {relayed.reply.id} {relayed.reply.created_s} {relayed.client}"
    return f"{said} {_signature(key, said)}"


def read(key: bytes, value: str) -> Relayed | None:
    """What a front has signed; None for anything else."""
    said, _, signature = value.rpartition(" ")
    if not hmac.compare_digest(signature.encode(), _signature(key, said).encode()):
        return None
    hold, id, created_s, client = said.split(" ")
    return Relayed(hold, NamedReply(id, int(created_s)), client)


class Relaying:
    """Reads what a front says of the request, and ends the request's hold with the answer."""

    def __init__(self, app: ASGIApp, key: bytes, holds: Holds) -> None:
        self._app = app
        self._key = key
        self._holds = holds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = next((value for name, value in scope["headers"] if name == HEADER.encode()), b"")
        said = read(self._key, sent.decode("latin-1"))
        if said is None:
            await self._app(scope, receive, send)
            return
        scope["client"] = (said.client, 0)
        context_of(scope).reply = said.reply
        with self._holds.answering(said.hold):
            await self._app(scope, receive, send)


def _signature(key: bytes, said: str) -> str:
    return hmac.new(key, said.encode(), hashlib.sha256).hexdigest()
