"""The record of one request: who asked, for what, when it reached each step, what it took, how it ended.

A record is made as soon as the key of a chat request is known, and it is filled on the way. Three readers use
it, and keep no times or counts of their own: the metrics and the log (`observe/requests.py`), the ledger
(`usage/base.py`) and the span (`observe/spans.py`). It holds nothing of what was said: no message, no
schema, no stop string.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

from tessera.core.chat import ChatRequest, FreeText, Mode, SamplingOptions
from tessera.core.events import FinishReason
from tessera.core.usage import INTERRUPTED, OPEN, LedgerEntry, Usage

CLIENT_GONE = "client_gone"
"""The failure of a request whose client left, or did not read."""

_MOST_TELLING = (FinishReason.LENGTH, FinishReason.TOOL_CALLS, FinishReason.STOP)


class RequestStep(StrEnum):
    """The steps of a request, in their order. Code, metrics, logs and spans call them by these words."""

    RECEIVED = "received"  # the head is there
    AUTHENTICATED = "authenticated"  # the key is valid; the body is still to come
    READ = "read"  # the whole request is there and was understood; durations count from here
    ADMITTED = "admitted"  # the limits of its account allow it
    QUEUED = "queued"  # it waits for its places at the engine, or has them at once
    STARTED = "started"  # it has its places: the reply is being made
    FIRST_TOKEN = "first_token"  # noqa: S105 - there is something of the reply; no such token is secret
    FINISHED = "finished"  # the reply is whole, or will never be
    SETTLED = "settled"  # the ledger has its end


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, but for its contents. `name` is the model as the client calls it."""

    reply_id: str
    model: str
    name: str
    mode: Mode
    streamed: bool
    n: int
    sampling: SamplingOptions
    max_output_tokens: int | None
    wants_json: bool


@dataclass(slots=True)
class Tally:
    """The counts of a reply while it is being made: right at every moment, also when it is cut short.

    Tokens so far, as in `Usage`, and the reasons of the choices that have ended.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    finished: dict[int, FinishReason] = field(default_factory=dict[int, FinishReason])

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.cached_tokens, self.completion_tokens, self.reasoning_tokens)


class RecordReader(Protocol):
    """Reads the records of requests while they are filled. Its methods do not wait and do not raise."""

    def reached(self, record: "RequestRecord", step: RequestStep) -> None:
        """Called for every step after `authenticated`."""
        ...

    def closed(self, record: "RequestRecord") -> None:
        """Called once, when the request holds nothing any more."""
        ...


class RequestRecord:
    """Entered around all the work on a request; closed when that ends, for whatever reason.

    The pipeline counts the `tally` as it goes, so that the tokens of a reply that is cut short are counted
    too. `failure` is the code of the first error, and `is_our_fault` says that the caller could not have
    avoided it.
    """

    def __init__(
        self,
        request_id: str,
        account: str,
        key_id: str,
        *,
        client: str = "",
        received_s: float | None = None,
        traceparent: str | None = None,
        readers: Iterable[RecordReader] = (),
    ) -> None:
        """`client` is its address. `received_s` is the monotonic time of the first step, by default now.
        `traceparent` is what the client sent under that name.
        """
        self.request_id = request_id
        self.account = account
        self.key_id = key_id
        self.client = client
        self.traceparent = traceparent
        self.asked: Asked | None = None
        self.tally = Tally()
        self.failure: str | None = None
        self.is_our_fault = False
        self.step = RequestStep.AUTHENTICATED
        now_s = time.monotonic()
        self._received_s = now_s if received_s is None else received_s
        self.received_ns = time.time_ns() - round((now_s - self._received_s) * 1e9)
        self._after_s = {RequestStep.RECEIVED: 0.0, RequestStep.AUTHENTICATED: now_s - self._received_s}
        self._readers = tuple(readers)

    def ask(self, request: ChatRequest, *, reply_id: str, model: str, streamed: bool) -> None:
        """Notes what the request asks for, of a model that there is."""
        self.asked = Asked(
            reply_id=reply_id,
            model=model,
            name=request.model or model,
            mode=request.mode,
            streamed=streamed,
            n=request.n,
            sampling=request.sampling,
            max_output_tokens=request.max_output_tokens,
            wants_json=not isinstance(request.answer_format, FreeText),
        )

    def reach(self, step: RequestStep) -> None:
        self.step = step
        self._after_s[step] = self.age_s
        for reader in self._readers:
            reader.reached(self, step)

    def fail(self, error: BaseException) -> None:
        """There will be no whole reply because of `error`. The first call counts."""
        if self.failure is None:
            self.failure = code_of(error)
            self.is_our_fault = self.failure != CLIENT_GONE and getattr(error, "status", 500) >= 500

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._received_s

    @property
    def whole_s(self) -> float | None:
        """Seconds from `read` until now; None before."""
        read_s = self._after_s.get(RequestStep.READ)
        return None if read_s is None else self.age_s - read_s

    def after_s(self, step: RequestStep) -> float | None:
        """Seconds from `read` to `step`; None if the request has not got there."""
        read_s = self._after_s.get(RequestStep.READ)
        reached_s = self._after_s.get(step)
        return None if read_s is None or reached_s is None else reached_s - read_s

    def times_ns(self) -> dict[RequestStep, int]:
        """The Unix times of the steps that were reached, in their order."""
        return {step: self.received_ns + round(after_s * 1e9) for step, after_s in self._after_s.items()}

    @property
    def outcome(self) -> str:
        """One word for how it ended: the failure, or the finish reason among its choices that says most."""
        reasons = self.tally.finished.values()
        return self.failure or next((reason for reason in _MOST_TELLING if reason in reasons), INTERRUPTED)

    def entry(self, *, ended: bool) -> LedgerEntry:
        """The ledger's view of a request that was read, as it is now."""
        asked = self.asked
        assert asked is not None, "read"
        return LedgerEntry(
            id=asked.reply_id,
            account=self.account,
            key_id=self.key_id,
            model=asked.model,
            mode=asked.mode.value,
            streamed=asked.streamed,
            begun_s=self.received_ns / 1e9 + self._after_s[RequestStep.READ],
            usage=self.tally.usage,
            finish=self.outcome if ended else OPEN,
            waited_s=self.after_s(RequestStep.STARTED),
            first_token_s=self.after_s(RequestStep.FIRST_TOKEN),
            whole_s=self.whole_s if ended else None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.fail(error)
        for reader in self._readers:
            reader.closed(self)


def code_of(error: BaseException) -> str:
    """The code of an error, as metrics, the ledger and spans name it."""
    if isinstance(error, asyncio.CancelledError):  # the server ends before its request
        return INTERRUPTED
    code: object = getattr(error, "code", None)
    return code if isinstance(code, str) else "internal_error"
