"""POST /v1/chat/completions."""

import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tessera.access.gate import Visit
from tessera.access.keys import Identity
from tessera.access.queue import Place
from tessera.catalog import Model
from tessera.core.chat import Caller, ChatRequest
from tessera.core.entry import Entry
from tessera.core.events import ChatEvent, Completed
from tessera.core.result import fold
from tessera.errors import EngineUnavailable, RequestError
from tessera.http.bodies import Body
from tessera.http.body import read_body
from tessera.http.errors import presentable
from tessera.http.inflight import Deadline
from tessera.http.presence import Abort, send_within, while_present
from tessera.http.service import Service
from tessera.http.sse import EventStream, WriteNow
from tessera.observe.spans import Trace
from tessera.pipeline import run
from tessera.prompt.compile import check_length
from tessera.usage.meter import Meter
from tessera.usage.recording import Recording
from tessera.wire.decode import ReplyOptions, decode_request
from tessera.wire.reply import Header, encode_reply, new_id
from tessera.wire.stream import ChunkWriter, error_frame

Batches: TypeAlias = AsyncGenerator[tuple[ChatEvent, ...]]

_SAFE_NAME = re.compile(r"[A-Za-z0-9._-]{1,96}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, as HTTP sees them. `abort` cuts the connection, `write_now` is quick."""

    scope: Scope
    receive: Receive
    send: Send
    caller: Caller
    visit: Visit
    body: Body
    deadline: Deadline
    meter: Meter
    record: Recording
    header: Header
    abort: Abort | None
    write_now: WriteNow | None

    async def leave(self) -> None:
        """The account may ask the next: done before the client can know that the reply is whole."""
        await self.visit.leave(self.meter.tally.reasoning_tokens)


class ChatCompletions:
    """The ASGI endpoint: one generation per request, released in every phase when the client leaves."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; raises what is to be answered with an error status."""
        state = scope["state"]
        visit: Visit = state["visit"]
        account, caller = visit.identity.account, _caller(visit, state["request_id"])
        service = self._service
        tracing = Trace(service.traces, scope["headers"], state["request_id"])
        with tracing as trace, service.in_flight, service.bodies.of(account, caller.priority) as body:
            self._service.admission.check(account, caller.priority)
            sent = read_body(scope, receive, self._service.limits, body.reserve)
            request, options = await body.decode(await sent, decode_request)
            model = self._service.catalog.find(request.model)
            trace.ask(request, model.id, streamed=options.stream)
            _require_ready(model)
            check_length(request, model, caller)
            # Whoever is let in counts: what would be refused anyway is refused before.
            self._service.admission.check(account, caller.priority)
            deadline = self._service.in_flight.deadline(self._service.limits.deadline_s)
            with Meter(self._service.metrics, model.id, caller.trace_id) as meter:
                header = _header(model)
                trace.answer(header.id, meter)
                blank = _blank(header, visit.identity, request, options)
                record = Recording(self._service.ledger, meter, blank)
                abort, write_now = state.get("abort"), state.get("write")
                to = Exchange(
                    scope,
                    receive,
                    send,
                    caller,
                    visit,
                    body,
                    deadline,
                    meter,
                    record,
                    header,
                    abort,
                    write_now,
                )
                async with self._admitted(to, model, request), self._place(to, request.n), record:
                    answer = self._stream if options.stream else self._reply
                    await answer(to, run(request, model, caller, meter.tally), model, options)

    @asynccontextmanager
    async def _admitted(self, to: Exchange, model: Model, request: ChatRequest) -> AsyncGenerator[None]:
        """Hold as many of the account's choices at once. A request that is refused later is not counted
        either.
        """
        names = self._service.catalog.names_of(model)
        await to.visit.admit(names, request.mode, request.n)
        try:
            with self._service.watch.over(to.visit.authorization, names, to.deadline.end):
                yield
        except RequestError:
            await to.visit.withdraw()
            raise
        finally:
            await to.leave()

    @asynccontextmanager
    async def _place(self, to: Exchange, n_choices: int) -> AsyncGenerator[None]:
        """Hold a place at the engine for each choice, after a wait if need be."""
        place = self._service.admission.join(to.visit.identity.account, to.caller.priority, n_choices)
        try:
            if place.state == "waiting":
                await while_present(to.receive, self._wait(to, place))
            to.body.release()
            to.meter.admit()
            yield
        finally:
            self._service.admission.leave(place)

    async def _wait(self, to: Exchange, place: Place) -> None:
        async with to.deadline:
            await self._service.admission.wait(place)

    async def _stream(self, to: Exchange, batches: Batches, model: Model, options: ReplyOptions) -> None:
        headers, before = _headers(options), to.record.opened
        stream = EventStream(to.send, self._service.limits, headers, to.abort, to.write_now, before)
        writer = ChunkWriter(to.header, model.tokenizer.token_bytes, include_usage=options.include_usage)
        await while_present(to.receive, _write(batches, writer, stream, to), stream.beat)

    async def _reply(self, to: Exchange, batches: Batches, model: Model, options: ReplyOptions) -> None:
        events = await while_present(to.receive, _collect(batches, to))
        await to.leave()
        body = encode_reply(fold(events), to.header, model.tokenizer.token_bytes)
        response = Response(body, media_type="application/json")
        response.raw_headers += _headers(options)
        sending = response(to.scope, to.receive, to.send)
        await send_within(self._service.limits.send_deadline_s, sending, to.abort)


def _caller(visit: Visit, trace_id: str) -> Caller:
    tier = visit.identity.tier
    return replace(visit.identity.caller, trace_id=trace_id, context_tokens=tier.context_tokens)


def _require_ready(model: Model) -> None:
    if reason := model.engine.unready():
        raise EngineUnavailable(
            f"{model.id} cannot answer now ({reason}). Send the request again.", retry_after_s=2
        )


async def _collect(batches: Batches, to: Exchange) -> list[ChatEvent]:
    events: list[ChatEvent] = []
    async with to.deadline, aclosing(batches):
        async for batch in batches:
            if not events:
                to.meter.begin()
            events += batch
    await to.record.settle()
    return events


async def _write(batches: Batches, writer: ChunkWriter, stream: EventStream, to: Exchange) -> None:
    """Write all events; an error after the first byte is the last frame.

    The end is written after the generation has let go of all it held, and is on record.
    """
    last = b""
    begun = False
    try:
        async with to.deadline, aclosing(batches):
            async for events in batches:
                if not begun:
                    begun = True
                    to.meter.begin()
                frames = writer.write(events)
                if isinstance(events[-1], Completed):
                    last = frames
                elif not stream.write_now(frames):
                    await stream.write(frames)
        await to.record.settle()
    except Exception as error:
        if not stream.started:
            raise
        shown = presentable(error, to.caller.trace_id)
        to.meter.fail(shown.code or "")
        last = error_frame(shown)
        await to.record.settle_anyway()
    await to.leave()
    await stream.write(last, more=False)


def _header(model: Model) -> Header:
    now_s = time.time()
    return Header(new_id(now_s), int(now_s), model.id)


def _blank(header: Header, identity: Identity, request: ChatRequest, options: ReplyOptions) -> Entry:
    whose = header.id, identity.account, identity.key_id
    return Entry(*whose, header.model, request.mode.value, options.stream, begun_s=time.time())


def _headers(options: ReplyOptions) -> list[tuple[bytes, bytes]]:
    """The names a client sent are not all fit for a header: the odd ones show as `?`."""
    names = [name if _SAFE_NAME.fullmatch(name) else "?" for name in options.ignored[:32]]
    return [(b"x-tessera-ignored-params", ", ".join(names).encode())] if names else []
