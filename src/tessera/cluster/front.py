"""The front: one address for all models of a service.

It finds the model by the name in the request, has a replica chosen by the conversation (`routing`), and passes the
bytes of the answer on as they come. It knows no keys and no limits: the replica decides about these.

If a replica is lost, the front asks another one. What the client has not seen yet is simply asked again. A stream
that has begun goes on if the same request gives the same reply (`wire.continuation`); otherwise it ends with an
error. The second replica continues the row of the ledger and the lease of the limits: they count one request.
"""

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tessera.cluster.affinity import beginnings
from tessera.cluster.asking import Answer, Outgoing, ReplicaLost, Replicas, passed_on
from tessera.cluster.plan import ServedModel
from tessera.cluster.relayed import HEADER, new_reply
from tessera.errors import EngineOverloaded, EngineUnavailable, ModelNotFound, TesseraError
from tessera.http.body import read_body
from tessera.http.context import context_of
from tessera.http.delivery import while_present
from tessera.http.limits import BodyLimits
from tessera.http.middleware import Envelope
from tessera.http.peer import client_address
from tessera.wire.continuation import Continuation, Diverged, FrameSplitter, Sent
from tessera.wire.glance import Glance, glance
from tessera.wire.stream import error_frame

N_ATTEMPTS = 4
MAX_SENT_BYTES = 2**20
"""A longer stream does not go on after the loss of its replica."""

MAX_BODIES_BYTES = 2**29
"""Bodies that a front holds at the same time."""

_LAST_FRAME = b"data: [DONE]\n\n"
_ERROR_FRAME = b'data: {"error"'
_REQUEST_ID = "x-request-id"
_NOT_SENT_ON = frozenset(each.encode() for each in (HEADER, _REQUEST_ID, "content-length", "expect"))
_NOT_PASSED_ON = frozenset({b"x-request-id", b"date", b"server"})


class Front:
    """Relays the requests of clients."""

    def __init__(self, models: Sequence[ServedModel], replicas: Replicas, limits: BodyLimits) -> None:
        """The first model answers requests that name none."""
        self._models = models
        self._by_name = {name: model for model in models for name in model.names}
        self._replicas = replicas
        self._limits = limits
        self._n_bytes = 0

    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI endpoint: POST /v1/chat/completions."""
        if scope["method"] != "POST" or not _header(scope, b"authorization"):
            await self.anything(scope, receive, send)  # which is refused there
            return
        body = await self._read(scope, receive)
        try:
            seen = glance(body)
            model = self._find(seen.model)
            if model is None:
                await self._refuse_model(seen, scope, receive, send)
                return
            outgoing = _outgoing(scope, body, seen)
            relay = _Relay(self._replicas, model.application, outgoing, send, seen.is_repeatable)
            await while_present(receive, relay.run())
        finally:
            self._n_bytes -= len(body)

    async def models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI endpoint: GET /v1/models."""
        answered = await self._list(scope)
        if isinstance(answered, Response):
            await answered(scope, receive, send)
            return
        body = msgspec.json.encode({"object": "list", "data": answered})
        await Response(body, media_type="application/json")(scope, receive, send)

    async def model(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI endpoint: GET /v1/models/{id}."""
        model = self._by_name.get(scope["path_params"]["id"], self._models[0])
        relay = _Relay(self._replicas, model.application, _outgoing(scope, b"", Glance()), send)
        await while_present(receive, relay.run())

    async def anything(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI endpoint for what is the same whichever model is asked: pages, usage, refusals."""
        outgoing = _outgoing(scope, b"", Glance())
        relay = _Relay(self._replicas, self._models[0].application, outgoing, send)
        await while_present(receive, relay.run())

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        n_reserved = 0

        async def reserve(n_bytes: int) -> None:
            nonlocal n_reserved
            if self._n_bytes + n_bytes - n_reserved > MAX_BODIES_BYTES:
                raise EngineOverloaded("Too many large requests. Send the request again.", retry_after_s=1)
            self._n_bytes += n_bytes - n_reserved
            n_reserved = n_bytes

        body = b""
        try:
            body = await read_body(scope, receive, self._limits, reserve)
            return body
        finally:
            self._n_bytes += len(body) - n_reserved

    def _find(self, name: str | None) -> ServedModel | None:
        """The only model decides for itself what its name is."""
        if name is None or len(self._models) == 1:
            return self._models[0]
        return self._by_name.get(name)

    async def _list(self, scope: Scope) -> "list[object] | Response":
        """The cards of the models that the key may use, or the refusal of a replica.

        A model that may be without replicas is not asked, since that would start one.
        """
        awake = [model for model in self._models if not model.may_sleep] or [self._models[0]]
        cards: list[object] = []
        for model in self._models:
            if model not in awake:
                cards += [_card(name) for name in model.names]
                continue
            status, body = await self._ask(model, scope)
            if status != 200:
                return Response(body, status, media_type="application/json")
            cards += msgspec.json.decode(body)["data"]
        return cards

    async def _ask(self, model: ServedModel, scope: Scope) -> tuple[int, bytes]:
        for _ in range(N_ATTEMPTS):
            try:
                asked = self._replicas.asked(model.application, _outgoing(scope, b"", Glance(), "GET", "/v1/models"))
                async with asked as answer:
                    return answer.status, await answer.whole()
            except ReplicaLost:
                continue
        raise _lost()

    async def _refuse_model(self, seen: Glance, scope: Scope, receive: Receive, send: Send) -> None:
        listed = await self._list(scope)
        if isinstance(listed, Response):
            await listed(scope, receive, send)
            return
        names = ", ".join(str(card["id"]) for card in listed if isinstance(card, dict))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        advice = f"Send one of: {names}." if names else "This key may use none that do."
        wanted = (seen.model or "")[:200]
        raise ModelNotFound(f"The model '{wanted}' does not exist here. {advice}", param="model")


class _Relay:
    """One request, until its client has the answer."""

    def __init__(
        self, replicas: Replicas, application: str, outgoing: Outgoing, send: Send, repeatable: bool = False
    ) -> None:
        self._replicas = replicas
        self._application = application
        self._outgoing = outgoing
        self._send = send
        self._sent = Sent(MAX_SENT_BYTES if repeatable else 0)
        self._has_begun = False
        self._has_ended = False

    async def run(self) -> None:
        """Raises `TesseraError` before the first byte; later errors end the stream."""
        try:
            await self._attempt()
        except TesseraError as error:
            if not self._has_begun:
                raise
            await self._body(error_frame(error), more=False)

    async def _attempt(self) -> None:
        for _ in range(N_ATTEMPTS):
            going_on = self._sent.continuation() if self._has_begun else None
            if self._has_begun and going_on is None:
                break
            try:
                async with self._replicas.asked(self._application, self._outgoing) as answer:
                    if self._has_begun and not answer.is_stream:
                        break  # it refuses what the first replica accepted
                    await (self._pass_stream(answer, going_on) if answer.is_stream else self._pass_whole(answer))
                    return
            except ReplicaLost:
                if self._has_ended:
                    return await self._body(b"", more=False)
            except Diverged:
                break
        raise _lost()

    async def _pass_whole(self, answer: Answer) -> None:
        body = await answer.whole()
        await self._start(answer)
        await self._body(body, more=False)

    async def _pass_stream(self, answer: Answer, going_on: Continuation | None) -> None:
        splitter = FrameSplitter()
        async for part in answer.parts():
            frames = splitter.feed(part)
            if going_on:
                frames = going_on.feed(frames)
            if not frames:
                continue
            if not self._has_begun:
                await self._start(answer)
            self._sent.add(frames)
            self._has_ended = frames.endswith(_LAST_FRAME) or _ERROR_FRAME in frames
            await self._body(frames)
        await self._body(b"", more=False)

    async def _start(self, answer: Answer) -> None:
        self._has_begun = True
        headers = passed_on(answer.headers, _NOT_PASSED_ON)
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})

    async def _body(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})


class Unnamed:
    """Leaves out the header `X-Request-Id`: Ray Serve's proxy adds it, with the same value."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_unnamed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [pair for pair in message["headers"] if pair[0] != b"x-request-id"]
            await send(message)

        await self._app(scope, receive, send_unnamed)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Starlette takes an object that can be called for an ASGI application, and a method for a function."""

    answer: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.answer(scope, receive, send)


def build_front(models: Sequence[ServedModel], replicas: Replicas, limits: BodyLimits) -> Starlette:
    """The ASGI application. Its lifespan starts and closes `replicas`."""
    front = Front(models, replicas, limits)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        await replicas.start()
        yield
        await replicas.aclose()

    async def healthz(request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    several = [
        Route("/v1/models", _Endpoint(front.models)),
        Route("/v1/models/{id:path}", _Endpoint(front.model)),
    ]
    app = Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/v1/chat/completions", _Endpoint(front.chat)),
            *(several if len(models) > 1 else ()),
            Mount("/", _Endpoint(front.anything)),
        ],
        middleware=[Middleware(Unnamed), Middleware(Envelope)],
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _outgoing(
    scope: Scope, body: bytes, seen: Glance, method: str | None = None, path: str | None = None
) -> Outgoing:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    query: bytes = scope["query_string"]
    written = scope.get("raw_path") or scope["path"].encode()
    sent_as = written.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    # Of a key only its digest goes into hashes, which Ray sees.
    salt = hashlib.blake2b(_header(scope, b"authorization")).digest()
    kept = [(key.decode("latin-1"), value.decode("latin-1")) for key, value in passed_on(headers, _NOT_SENT_ON)]
    return Outgoing(
        method=method or scope["method"],
        path=path or sent_as,
        headers=[*kept, (_REQUEST_ID, context_of(scope).request_id)],
        body=body,
        reply=new_reply(),
        client=client_address(scope),
        hashes=beginnings(salt, seen.before, seen.messages),
    )


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def _card(name: str) -> dict[str, object]:
    """What is known of a model without asking it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "tessera"}


def _lost() -> EngineUnavailable:
    return EngineUnavailable(
        "The replica that made this reply was lost. Send the request again.", code="replica_lost"
    )
