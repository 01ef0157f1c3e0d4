"""POST /v1/chat/completions."""

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

from starlette.types import Receive, Scope, Send

from tessera.access.queue import EngineQueue, Places
from tessera.catalog import Model
from tessera.core.chat import Caller
from tessera.core.record import RequestRecord, RequestStep
from tessera.errors import EngineUnavailable, RequestError, StoreUnavailable
from tessera.http.answers import Exchange, send_reply, stream_reply
from tessera.http.bodies import RequestBody
from tessera.http.body import read_body
from tessera.http.context import RequestContext, context_of
from tessera.http.delivery import while_present
from tessera.http.peer import client_address
from tessera.http.service import Service
from tessera.pipeline import run
from tessera.prompt.compile import check_length
from tessera.usage.base import Ledger, OpenEntry
from tessera.wire.decode import decode_request
from tessera.wire.reply import Header, new_id

_TRACEPARENT = b"traceparent"


class ChatCompletions:
    """The ASGI endpoint. It raises what is to be answered with an error status."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        service = self._service
        identity = context.required_permit.identity
        caller = replace(
            identity.caller,
            trace_id=context.request_id,
            context_tokens=identity.tier.context_tokens,
            default_output_tokens=identity.tier.default_output_tokens,
        )
        # All that a request holds, in the order in which it is taken. Wherever it ends, what it has taken by
        # then is released in reverse.
        #
        # - The record comes first: it is closed when all else is released, and so counts every end.
        # - In flight, before the body: a shutdown waits for bodies that are being received.
        # - The bytes of the body, before they are received. They are given back when the request starts.
        # - The lease, when the body has told the mode and `n` that limits depend on. It is taken before the
        #   queue: a request that waits counts among those that its account has at once.
        # - The places at the engine.
        # - The ledger's entry, last: a request that never started is not billed. It is settled before the
        #   place and the lease are released: a client that sees the end of a reply finds it on record.
        async with AsyncExitStack() as holds:
            record = holds.enter_context(self._record(scope, context))
            holds.enter_context(service.in_flight.hold(record))
            body = holds.enter_context(service.bodies.of(record.account, caller.priority))
            to = await self._receive(scope, receive, send, caller=caller, record=record, body=body)
            await holds.enter_async_context(self._lease(to))
            await holds.enter_async_context(self._place(to, caller, body))
            entry = await holds.enter_async_context(OpenEntry(service.ledger, record))
            await entry.opened()  # at once, unless the disk takes no note of it: then the store has to
            answer = stream_reply if to.options.stream else send_reply
            await answer(to, entry, run(to.request, to.model, caller, record.tally))

    def _record(self, scope: Scope, context: RequestContext) -> RequestRecord:
        identity = context.required_permit.identity
        sent = next((value for name, value in scope["headers"] if name == _TRACEPARENT), None)
        return RequestRecord(
            context.request_id,
            identity.account,
            identity.key_id,
            client=client_address(scope),
            received_s=context.received_s,
            traceparent=sent.decode("latin-1") if sent is not None else None,
            readers=self._service.record_readers,
        )

    async def _receive(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        caller: Caller,
        record: RequestRecord,
        body: RequestBody,
    ) -> Exchange:
        """Receives and decodes the body. What would be refused anyway is refused before it costs anything."""
        service = self._service
        context = context_of(scope)
        _require_recording(service.ledger)
        # Which model the request names is not known yet: it is refused if every queue would refuse it.
        if refusal := service.refusal_of_all(record.account, caller.priority):
            raise refusal
        sent = await read_body(scope, receive, service.limits, partial(service.bodies.reserve, body))
        body.n_received = len(sent)
        request, options = await service.bodies.decoding.decode(record.account, sent, decode_request)
        model = service.catalog.find(request.model, context.required_permit.identity.models)
        now_s = time.time()
        id, created_s = context.reply or (new_id(now_s), int(now_s))
        header = Header(id, created_s, model.id)
        record.ask(request, reply_id=header.id, model=model.id, streamed=options.stream)
        _require_ready(model)
        check_length(request, model, caller)
        if refusal := service.queues[model.id].refusal(record.account, caller.priority):
            raise refusal
        record.reach(RequestStep.READ)
        return Exchange(
            scope=scope,
            receive=receive,
            send=send,
            context=context,
            record=record,
            request=request,
            options=options,
            model=model,
            header=header,
            deadline=service.in_flight.deadline(service.limits.deadline_s, record),
            limits=service.limits,
        )

    @asynccontextmanager
    async def _lease(self, to: Exchange) -> AsyncGenerator[None]:
        """Holds as many of the account's choices as the request has. It ends if its key becomes invalid; a
        request that is refused later is not counted.
        """
        names = self._service.catalog.names_of(to.model)
        named = to.context.reply
        await to.permit.admit(names, to.request.mode, to.request.n, named.id if named else None)
        to.record.reach(RequestStep.ADMITTED)
        try:
            with self._service.watch.over(to.permit.authorization, names, to.deadline.end):
                yield
        except RequestError:
            await to.permit.withdraw()
            raise
        finally:
            await to.leave()

    @asynccontextmanager
    async def _place(self, to: Exchange, caller: Caller, body: RequestBody) -> AsyncGenerator[None]:
        """Holds a place at the engine for each choice, after a wait if need be."""
        queue = self._service.queues[to.model.id]
        place = queue.join(to.record.account, caller.priority, to.request.n)
        to.record.reach(RequestStep.QUEUED)
        try:
            if place.state == "waiting":
                await while_present(to.receive, _wait(to, queue, place))
            self._service.bodies.release(body)
            to.record.reach(RequestStep.STARTED)
            yield
        finally:
            queue.leave(place)


async def _wait(to: Exchange, queue: EngineQueue, place: Places) -> None:
    async with to.deadline:
        await queue.wait(place)


def _require_ready(model: Model) -> None:
    if reason := model.engine.unready():
        raise EngineUnavailable(
            f"{model.id} cannot answer now ({reason}). Send the request again.", retry_after_s=2
        )


def _require_recording(ledger: Ledger) -> None:
    """Nothing is generated whose usage could not be recorded."""
    if ledger.unready():
        raise StoreUnavailable("Usage cannot be recorded now. Send the request again.", retry_after_s=2)
