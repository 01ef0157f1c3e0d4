"""One request on its way through a front, until its client has the answer, whatever happens to replicas."""

import hashlib

from starlette.types import Scope, Send

from tessera.cluster.affinity import beginnings
from tessera.cluster.relayed import HEADER, new_reply
from tessera.cluster.upstream import Outgoing, ReplicaAnswer, ReplicaLost, Replicas, passed_on, whole
from tessera.errors import EngineUnavailable
from tessera.http.context import client_address, context_of
from tessera.http.errors import presentable
from tessera.wire.continuation import Continuation, Diverged, EventSplitter, Sent
from tessera.wire.glance import Glance
from tessera.wire.stream import error_frame

N_ATTEMPTS = 4
MAX_SENT_BYTES = 2**20
"""A longer stream does not go on after the loss of its replica."""

_DATA = b"data: "
_LAST_FRAME = b"data: [DONE]\n\n"
_ERROR_FRAME = b'data: {"error"'
_REQUEST_ID = "x-request-id"
_NOT_SENT_ON = frozenset(each.encode() for each in (HEADER, _REQUEST_ID, "content-length", "expect"))
_NOT_PASSED_ON = frozenset({b"x-request-id", b"date", b"server"})


class Relay:
    """One request, until its client has the answer."""

    def __init__(
        self, replicas: Replicas, application: str, outgoing: Outgoing, send: Send, repeatable: bool = False
    ) -> None:
        self._replicas = replicas
        self._application = application
        self._outgoing = outgoing
        self._send = send
        self._sent = Sent(MAX_SENT_BYTES if repeatable else 0)
        self._has_begun = False  # the status and the headers were sent
        self._has_said = False  # something of the reply was sent, too: not only comments
        self._has_ended = False

    async def run(self) -> None:
        """Raises errors before the first byte; later ones end the stream."""
        try:
            await self._attempt()
        except Exception as error:
            if not self._has_begun:
                raise
            shown = presentable(error, dict(self._outgoing.headers)[_REQUEST_ID])
            await self._body(error_frame(shown), more=False)

    async def _attempt(self) -> None:
        for _ in range(N_ATTEMPTS):
            going_on = self._sent.continuation() if self._has_said else None
            if self._has_said and going_on is None:
                break
            try:
                async with self._replicas.asked(self._application, self._outgoing) as answer:
                    if self._has_begun and not answer.is_stream:
                        break  # it refuses what the first replica accepted
                    await (
                        self._pass_stream(answer, going_on) if answer.is_stream else self._pass_whole(answer)
                    )
                    return
            except ReplicaLost:
                if self._has_ended:
                    return await self._body(b"", more=False)
            except Diverged:
                break
        raise lost()

    async def _pass_whole(self, answer: ReplicaAnswer) -> None:
        body = await whole(answer)
        await self._start(answer)
        await self._body(body, more=False)

    async def _pass_stream(self, answer: ReplicaAnswer, going_on: Continuation | None) -> None:
        splitter = EventSplitter()
        async for part in answer.parts():
            frames = splitter.feed(part)
            if going_on:
                frames = going_on.feed(frames)
            if not frames:
                continue
            if not self._has_begun:
                await self._start(answer)
            self._sent.add(frames)
            self._has_said = self._has_said or _DATA in frames
            self._has_ended = frames.endswith(_LAST_FRAME) or _ERROR_FRAME in frames
            await self._body(frames)
        await self._body(b"", more=False)

    async def _start(self, answer: ReplicaAnswer) -> None:
        self._has_begun = True
        headers = passed_on(answer.headers, _NOT_PASSED_ON)
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def _body(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


def outgoing_of(
    scope: Scope, body: bytes, seen: Glance, method: str | None = None, path: str | None = None
) -> Outgoing:
    """The request of the scope as a replica gets it, under a new name of its reply."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    query: bytes = scope["query_string"]
    written = scope.get("raw_path") or scope["path"].encode()
    sent_as = written.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    # Of a key only its digest goes into hashes, which Ray sees.
    salt = hashlib.blake2b(header(scope, b"authorization")).digest()
    kept = [
        (key.decode("latin-1"), value.decode("latin-1")) for key, value in passed_on(headers, _NOT_SENT_ON)
    ]
    return Outgoing(
        method=method or scope["method"],
        path=path or sent_as,
        headers=[*kept, (_REQUEST_ID, context_of(scope).request_id)],
        body=body,
        reply=new_reply(),
        client=client_address(scope),
        hashes=beginnings(salt, seen.before, seen.messages),
    )


def header(scope: Scope, name: bytes) -> bytes:
    """The value of the header, or nothing."""
    return next((value for key, value in scope["headers"] if key == name), b"")


def lost() -> EngineUnavailable:
    """The error of a reply that can neither go on nor be asked for again."""
    return EngineUnavailable(
        "The replica that made this reply was lost. Send the request again.", code="replica_lost"
    )
