"""The front: one address for all models of a service.

It finds the model by the name in the request, has a replica chosen by the conversation (`routing`), and
passes the bytes of the answer on as they come. It knows no keys and no limits: the replica decides about
these.

If a replica is lost, the front asks another one. What the client has not seen yet is simply asked again. A
stream that has begun goes on if the same request gives the same reply (`wire.continuation`); otherwise it
ends with an error. The second replica continues the row of the ledger and the lease of the limits: they count
one request.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tessera.cluster.plan import ServedModel
from tessera.cluster.relay import N_ATTEMPTS, Relay, header, lost, outgoing_of
from tessera.cluster.upstream import ReplicaLost, Replicas, whole
from tessera.errors import EngineOverloaded, ModelNotFound
from tessera.http.body import read_body
from tessera.http.delivery import while_present
from tessera.http.limits import BodyLimits
from tessera.http.middleware import Envelope
from tessera.wire.glance import Glance, glance

MAX_BODIES_BYTES = 2**29
"""Bodies that a front holds at the same time."""

_NO_CHAT = Glance()
_Card: TypeAlias = dict[str, object]


class _CardList(msgspec.Struct, rename={"cards": "data"}):
    cards: list[_Card]


_CARDS = msgspec.json.Decoder(_CardList)


class ModelFront:
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
        if scope["method"] != "POST" or not header(scope, b"authorization"):
            await self.anything(scope, receive, send)  # which is refused there
            return
        body = await self._read(scope, receive)
        try:
            seen = glance(body)
            model = self._find(seen.model)
            if model is None:
                await self._refuse_model(seen.model or "", scope, receive, send)
                return
            await self._relay(model, scope, receive, send, body=body, seen=seen)
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
        id: str = scope["path_params"]["id"]
        model = self._by_name.get(id)
        if model is None:
            await self._refuse_model(id, scope, receive, send)
            return
        await self._relay(model, scope, receive, send)

    async def anything(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI endpoint for what is the same whichever model is asked: pages, usage, refusals."""
        await self._relay(self._models[0], scope, receive, send)

    async def _relay(
        self,
        model: ServedModel,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        body: bytes = b"",
        seen: Glance = _NO_CHAT,
    ) -> None:
        """Passes the request on to a replica of the model, until the client has the answer or is gone."""
        outgoing = outgoing_of(scope, body, seen)
        relay = Relay(self._replicas, model.application, outgoing, send, seen.is_repeatable)
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

    async def _list(self, scope: Scope) -> "list[_Card] | Response":
        """The cards of the models that the key may use, or the refusal of a replica.

        A model that may be without replicas is not asked, since that would start one.
        """
        awake = [model for model in self._models if not model.may_sleep] or [self._models[0]]
        cards: list[_Card] = []
        for model in self._models:
            if model not in awake:
                cards += [_card(name) for name in model.names]
                continue
            status, body = await self._ask(model, scope)
            if status != 200:
                return Response(body, status, media_type="application/json")
            cards += _CARDS.decode(body).cards
        return cards

    async def _ask(self, model: ServedModel, scope: Scope) -> tuple[int, bytes]:
        for _ in range(N_ATTEMPTS):
            try:
                asked = self._replicas.asked(
                    model.application, outgoing_of(scope, b"", _NO_CHAT, "GET", "/v1/models")
                )
                async with asked as answer:
                    return answer.status, await whole(answer)
            except ReplicaLost:
                continue
        raise lost()

    async def _refuse_model(self, wanted: str, scope: Scope, receive: Receive, send: Send) -> None:
        listed = await self._list(scope)
        if isinstance(listed, Response):
            await listed(scope, receive, send)
            return
        names = ", ".join(str(card["id"]) for card in listed)
        advice = f"Send one of: {names}." if names else "This key may use none that do."
        raise ModelNotFound(f"The model '{wanted[:200]}' does not exist here. {advice}", param="model")


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
    front = ModelFront(models, replicas, limits)

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


def _card(name: str) -> _Card:
    """What is known of a model without asking it."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "tessera"}
