"""What a front needs of replicas: a request goes out, and an answer comes, or the replica is lost."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from tessera.http.context import NamedReply

_HOP: frozenset[bytes] = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)


class ReplicaLost(Exception):
    """The replica is gone, and what it has not sent yet will not come from there."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request on its way to a replica. `path` has the query; `client` is the address of who sent it."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    reply: NamedReply
    client: str
    hashes: Sequence[bytes] = ()


class ReplicaAnswer(Protocol):
    """The answer of a replica whose body is still to come."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...

    @property
    def is_stream(self) -> bool:
        """Whether it consists of server-sent events."""
        ...

    def parts(self) -> AsyncIterator[bytes]:
        """The body, as much at a time as there is. Raises `ReplicaLost`."""
        ...


class Replicas(Protocol):
    """The replicas of all models, as one front sees them."""

    async def start(self) -> None:
        """Called in the event loop of the requests."""
        ...

    def asked(self, application: str, outgoing: Outgoing) -> AbstractAsyncContextManager[ReplicaAnswer]:
        """The answer of a replica of the application; waits while it has none.

        Raises `ReplicaLost`, `EngineTimeout`, `EngineOverloaded` and `EngineUnavailable`.
        """
        ...

    async def aclose(self) -> None: ...


async def whole(answer: ReplicaAnswer) -> bytes:
    """The whole body. Raises `ReplicaLost`."""
    return b"".join([part async for part in answer.parts()])


def passed_on(headers: Sequence[tuple[bytes, bytes]], dropped: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """The headers without those that belong to one connection, and without the `dropped` ones."""
    named = {
        name.strip().lower()
        for key, value in headers
        if key.lower() == b"connection"
        for name in value.split(b",")
    }
    return [(key, value) for key, value in headers if key.lower() not in _HOP | dropped | named]
