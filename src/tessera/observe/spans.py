"""One chat request as a span, in the names of OpenTelemetry's conventions for generative AI.

A span says who answered, how long that took and how many tokens. Of what a client wrote it has numbers only:
no message, no schema, no stop string, and the model's name only if it is one of ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tessera.core.record import Asked, RecordReader, RequestRecord, RequestStep

Attribute: TypeAlias = str | int | float | bool | Sequence[str]

# Fields of the sampling that the conventions know; they call them as we do.
_SAMPLING = ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed")
_BEFORE_ADMITTED = (RequestStep.RECEIVED, RequestStep.AUTHENTICATED, RequestStep.READ)


@dataclass(frozen=True, slots=True)
class RequestSpan:
    """Times are Unix time in nanoseconds. `traceparent` is what the client sent under that name; `failed`
    says that it was the service's fault.
    """

    name: str
    begun_ns: int
    ended_ns: int
    traceparent: str | None
    attributes: Mapping[str, Attribute]
    events: Sequence[tuple[str, int]]
    failed: bool


class Traces(RecordReader, Protocol):
    """A reader of request records that makes a span of each and sends it away."""

    async def aclose(self) -> None:
        """Sends what is still to be sent, if that takes no more than a moment."""
        ...


def span_of(record: RequestRecord) -> RequestSpan:
    """The span of a request that ends now."""
    attributes: dict[str, Attribute | None] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "tessera",
        "tessera.request.id": record.request_id,
        "error.type": record.failure,
    }
    name = "chat"
    if asked := record.asked:
        name = f"chat {asked.name}"
        attributes |= _of_request(asked)
        if record.whole_s is not None:
            attributes |= _of_reply(asked, record)
    return RequestSpan(
        name=name,
        begun_ns=record.received_ns,
        ended_ns=record.received_ns + round(record.age_s * 1e9),
        traceparent=record.traceparent,
        attributes={key: value for key, value in attributes.items() if value is not None},
        events=[
            (f"tessera.{step}", at_ns)
            for step, at_ns in record.times_ns().items()
            if step not in _BEFORE_ADMITTED
        ],
        failed=record.is_our_fault,
    )


def _of_request(asked: Asked) -> dict[str, Attribute | None]:
    return {
        "gen_ai.request.model": asked.name,
        "gen_ai.request.stream": asked.streamed,
        "gen_ai.request.choice.count": asked.n if asked.n != 1 else None,
        "gen_ai.request.max_tokens": asked.max_output_tokens,
        **{f"gen_ai.request.{name}": getattr(asked.sampling, name) for name in _SAMPLING},
        "gen_ai.output.type": "json" if asked.wants_json else "text",
    }


def _of_reply(asked: Asked, record: RequestRecord) -> dict[str, Attribute | None]:
    tally = record.tally
    first_token_s = record.after_s(RequestStep.FIRST_TOKEN)
    reasons = [str(reason) for _, reason in sorted(tally.finished.items())]
    return {
        "gen_ai.response.id": asked.reply_id,
        "gen_ai.response.model": asked.model,
        "gen_ai.response.finish_reasons": reasons or None,
        "gen_ai.response.time_to_first_chunk": first_token_s if asked.streamed else None,
        "gen_ai.usage.input_tokens": tally.prompt_tokens,
        "gen_ai.usage.output_tokens": tally.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": tally.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": tally.reasoning_tokens,
    }
