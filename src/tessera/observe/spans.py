"""One chat request as a span: what OpenTelemetry's conventions for generative AI have a name for.

A span says who answered, how long that took and how many tokens. Of what a client wrote it has numbers only:
no message, no schema, no stop string, and the model's name only if it is one of ours.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from tessera.core.chat import ChatRequest, FreeText
from tessera.usage.meter import CLIENT_GONE, Meter, code_of

Attribute: TypeAlias = str | int | float | bool | Sequence[str]
RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]

_PARENT = b"traceparent"


@dataclass(frozen=True, slots=True)
class Span:
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


class Traces(Protocol):
    """Where spans go."""

    def report(self, trace: "Trace") -> None:
        """A request has ended. Never waits, never raises."""
        ...

    async def aclose(self) -> None:
        """Send what is still to be sent, if that is quickly done."""
        ...


class Untraced:
    """`Traces` that go nowhere."""

    def report(self, trace: "Trace") -> None:
        """See `Traces`."""

    async def aclose(self) -> None:
        """See `Traces`."""


class Trace:
    """Entered around a request; what becomes known of it is told meanwhile, and reported at its end."""

    def __init__(self, traces: Traces, headers: RawHeaders, request_id: str) -> None:
        """The clock runs from now."""
        self._begun_s, self._begun_ns = time.monotonic(), time.time_ns()
        self._traces = traces
        self._headers = headers
        self._request_id = request_id
        self._asked: tuple[ChatRequest, str, bool] | None = None
        self._reply_id: str | None = None
        self._meter: Meter | None = None
        self._error: BaseException | None = None

    def ask(self, request: ChatRequest, model_id: str, *, streamed: bool) -> None:
        """The request was understood, and there is such a model."""
        self._asked = request, request.model or model_id, streamed

    def answer(self, reply_id: str, meter: Meter) -> None:
        """It is being answered."""
        self._reply_id, self._meter = reply_id, meter

    def __enter__(self) -> Self:
        """It has come."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It has ended."""
        self._error = error
        self._traces.report(self)

    def span(self) -> Span:
        """What is to be told of it, now that it has ended."""
        attributes: dict[str, Attribute | None] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "tessera",
            "tessera.request.id": self._request_id,
        }
        name = "chat"
        if self._asked:
            attributes |= _of_request(*self._asked)
            name = f"chat {self._asked[1]}"
        if self._meter:
            attributes |= {"gen_ai.response.id": self._reply_id, **_of_reply(self._meter)}
            if self._asked and self._asked[2]:
                attributes["gen_ai.response.time_to_first_chunk"] = self._meter.first_token_s
        failure, failed = self._failure()
        attributes["error.type"] = failure
        return Span(
            name,
            self._begun_ns,
            self._at_ns(time.monotonic()),
            next((value.decode("latin-1") for key, value in self._headers if key == _PARENT), None),
            {key: value for key, value in attributes.items() if value is not None},
            self._events(),
            failed,
        )

    def _failure(self) -> tuple[str | None, bool]:
        """The code of what went wrong, and whether it is the service's fault."""
        code = self._meter.failure if self._meter else None
        if code is None and self._error is not None:
            code = code_of(self._error)
        # Of what goes wrong after the first byte nothing is raised: it is the engine's or the client's.
        status = getattr(self._error, "status", 500)
        return code, code not in (None, CLIENT_GONE) and status >= 500

    def _events(self) -> list[tuple[str, int]]:
        meter = self._meter
        if meter is None:
            return []
        happened = (("tessera.admitted", meter.waited_s), ("tessera.first_token", meter.first_token_s))
        return [
            (name, self._at_ns(meter.begun_s + after_s)) for name, after_s in happened if after_s is not None
        ]

    def _at_ns(self, at_s: float) -> int:
        return self._begun_ns + round((at_s - self._begun_s) * 1e9)


def _of_request(request: ChatRequest, model: str, streamed: bool) -> dict[str, Attribute | None]:
    sampling = request.sampling
    return {
        "gen_ai.request.model": model,
        "gen_ai.request.stream": streamed,
        "gen_ai.request.choice.count": request.n if request.n != 1 else None,
        "gen_ai.request.max_tokens": request.max_output_tokens,
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.top_k": sampling.top_k,
        "gen_ai.request.frequency_penalty": sampling.frequency_penalty,
        "gen_ai.request.presence_penalty": sampling.presence_penalty,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.output.type": "text" if isinstance(request.answer_format, FreeText) else "json",
    }


def _of_reply(meter: Meter) -> dict[str, Attribute | None]:
    tally = meter.tally
    reasons = [str(reason) for _, reason in sorted(tally.finished.items())]
    return {
        "gen_ai.response.model": meter.model_id,
        "gen_ai.response.finish_reasons": reasons or None,
        "gen_ai.usage.input_tokens": tally.prompt_tokens,
        "gen_ai.usage.output_tokens": tally.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": tally.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": tally.reasoning_tokens,
    }
