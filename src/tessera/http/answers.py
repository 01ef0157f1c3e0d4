"""The answer to one chat request, made of what the pipeline yields: a stream of events or a whole reply."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeAlias

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tessera.access.permit import Permit
from tessera.catalog import Model
from tessera.core.chat import ChatRequest
from tessera.core.events import ChatEvent, Completed
from tessera.core.record import RequestRecord, RequestStep
from tessera.http.context import RequestContext
from tessera.http.delivery import EventStream, send_within, while_present
from tessera.http.errors import presentable
from tessera.http.inflight import Deadline
from tessera.http.limits import HttpLimits
from tessera.usage.base import OpenEntry
from tessera.wire.decode import ReplyOptions
from tessera.wire.reply import Header, ReplyWriter
from tessera.wire.stream import ChunkWriter, error_frame

Batches: TypeAlias = AsyncGenerator[tuple[ChatEvent, ...]]

_SAFE_NAME = re.compile(r"[A-Za-z0-9._-]{1,96}")


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request that was received, and its answer, as HTTP sees them."""

    scope: Scope
    receive: Receive
    send: Send
    context: RequestContext
    permit: Permit
    record: RequestRecord
    request: ChatRequest
    options: ReplyOptions
    model: Model
    header: Header
    deadline: Deadline
    limits: HttpLimits

    async def leave(self) -> None:
        """Releases the lease. That comes before the end of the reply: a client that then sends its next
        request must not be refused because of this one.
        """
        await self.permit.leave(self.record.tally.usage)


async def stream_reply(exchange: Exchange, entry: OpenEntry, batches: Batches) -> None:
    """Answers with server-sent events."""
    stream = EventStream(
        exchange.send,
        exchange.limits,
        _headers(exchange.options),
        abort=exchange.context.abort,
        write_now=exchange.context.write_now,
    )
    token_bytes = exchange.model.tokenizer.token_bytes
    writer = ChunkWriter(exchange.header, token_bytes, include_usage=exchange.options.include_usage)
    await while_present(exchange.receive, _write(batches, writer, stream, exchange, entry), stream.beat)


async def send_reply(exchange: Exchange, entry: OpenEntry, batches: Batches) -> None:
    """Answers with one JSON object."""
    writer = ReplyWriter(exchange.header, exchange.model.tokenizer.token_bytes)
    await while_present(exchange.receive, _collect(batches, writer, exchange, entry))
    await exchange.leave()
    response = Response(writer.body(), media_type="application/json")
    response.raw_headers += _headers(exchange.options)
    sending = response(exchange.scope, exchange.receive, exchange.send)
    await send_within(exchange.limits.send_deadline_s, sending, exchange.context.abort)


async def _collect(batches: Batches, writer: ReplyWriter, exchange: Exchange, entry: OpenEntry) -> None:
    begun = False
    async with exchange.deadline, aclosing(batches):
        async for events in batches:
            if not begun:
                begun = True
                exchange.record.reach(RequestStep.FIRST_TOKEN)
            writer.add(events)
    await entry.settle()


async def _write(
    batches: Batches, writer: ChunkWriter, stream: EventStream, exchange: Exchange, entry: OpenEntry
) -> None:
    """Writes all events; an error after the first byte is the last frame.

    The last frame is written after the generation has released all it held, and its end is on record.
    """
    last = b""
    begun = False
    try:
        async with exchange.deadline, aclosing(batches):
            async for events in batches:
                if not begun:
                    begun = True
                    exchange.record.reach(RequestStep.FIRST_TOKEN)
                frames = writer.write(events)
                if isinstance(events[-1], Completed):
                    last = frames
                elif not stream.write_now(frames):
                    await stream.write(frames)
        await entry.settle()
    except Exception as error:
        if not stream.started:
            raise
        shown = presentable(error, exchange.context.request_id)
        exchange.record.fail(shown)
        last = error_frame(shown)
        await entry.settle_anyway()
    await exchange.leave()
    await stream.write(last, more=False)


def _headers(options: ReplyOptions) -> list[tuple[bytes, bytes]]:
    """The header that names the ignored fields. A name that is not safe in a header is shown as `?`."""
    names = [name if _SAFE_NAME.fullmatch(name) else "?" for name in options.ignored[:32]]
    return [(b"x-tessera-ignored-params", ", ".join(names).encode())] if names else []
