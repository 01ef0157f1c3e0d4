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
from tessera.http.context import RequestContext, client_address, context_of
from tessera.http.delivery import while_present
from tessera.http.service import Service
from tessera.pipeline import run
from tessera.prompt.compile import check_length
from tessera.usage.base import Ledger, OpenEntry
from tessera.wire.decode import decode_request
from tessera.wire.reply import Header, new_id

_TRACEPARENT = b"traceparent"


class ChatCompletions:
    """The ASGI endpoint. What it raises becomes an answer with an error status (`Envelope`)."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        service = self._service
        caller = replace(context.required_permit.identity.caller, trace_id=context.request_id)
        # A request acquires what it needs in this order. Wherever it ends, it releases in reverse what it has
        # acquired by then.
        #
        # - The record comes first: it is closed after everything else, and so counts every end.
        # - In flight, before the body: a shutdown waits for bodies that are being received.
        # - Memory for the body, before it is received. It is released when the request starts.
        # - The lease, as soon as the body is decoded: limits depend on its mode and its `n`. It comes before
        #   the queue, because a request that waits counts among those that its account has at once.
        # - The places at the engine.
        # - The ledger's entry, last: a request that never started is not billed. It is settled before the
        #   places and the lease, so that a client that has seen the end of a reply finds it recorded.
        async with AsyncExitStack() as holds:
            record = holds.enter_context(self._record(scope, context))
            holds.enter_context(service.in_flight.hold(record))
            body = holds.enter_context(service.bodies.of(record.account, caller.priority))
            exchange = await self._receive(scope, receive, send, caller=caller, record=record, body=body)
            await holds.enter_async_context(self._lease(exchange))
            await holds.enter_async_context(self._place(exchange, caller, body))
            entry = await holds.enter_async_context(OpenEntry(service.ledger, record))
            await entry.opened()  # returns at once, unless only the store can record the entry now
            answer = stream_reply if exchange.options.stream else send_reply
            await answer(exchange, entry, run(exchange.request, exchange.model, caller, record.tally))

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
        """Receives and decodes the body. Each check comes as early as it can, before it costs anything."""
        service = self._service
        context = context_of(scope)
        permit = context.required_permit
        _require_recording(service.ledger)
        # Which model the request names is not known yet: it is refused if every queue would refuse it.
        refusals = [queue.refusal(record.account, caller.priority) for queue in service.queues.values()]
        if (refusal := refusals[0]) and all(refusals):
            raise refusal
        sent = await read_body(scope, receive, service.limits, partial(service.bodies.reserve, body))
        body.n_received = len(sent)
        request, options = await service.bodies.decoding.decode(record.account, sent, decode_request)
        model = service.catalog.find(request.model, permit.identity.models)
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
            permit=permit,
            record=record,
            request=request,
            options=options,
            model=model,
            header=header,
            deadline=service.in_flight.deadline(service.limits.deadline_s, record),
            limits=service.limits,
        )

    @asynccontextmanager
    async def _lease(self, exchange: Exchange) -> AsyncGenerator[None]:
        """Holds the lease of the account's limits, and ends the request if its key becomes invalid. A request
        that is refused before anything was generated does not count.
        """
        names = self._service.catalog.names_of(exchange.model)
        named = exchange.context.reply
        await exchange.permit.admit(
            names, exchange.request.mode, exchange.request.n, named.id if named else None
        )
        exchange.record.reach(RequestStep.ADMITTED)
        try:
            with self._service.watch.over(exchange.permit.authorization, names, exchange.deadline.end):
                yield
        except RequestError:
            if not exchange.record.tally.usage.completion_tokens:
                await exchange.permit.withdraw()
            raise
        finally:
            await exchange.leave()

    @asynccontextmanager
    async def _place(self, exchange: Exchange, caller: Caller, body: RequestBody) -> AsyncGenerator[None]:
        """Holds a place at the engine for each choice, once there is room."""
        queue = self._service.queues[exchange.model.id]
        place = queue.join(exchange.record.account, caller.priority, exchange.request.n)
        exchange.record.reach(RequestStep.QUEUED)
        try:
            if place.state == "waiting":
                await while_present(exchange.receive, _wait(exchange, queue, place))
            self._service.bodies.release(body)
            exchange.record.reach(RequestStep.STARTED)
            yield
        finally:
            queue.leave(place)


async def _wait(exchange: Exchange, queue: EngineQueue, place: Places) -> None:
    async with exchange.deadline:
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
