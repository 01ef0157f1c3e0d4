"""One request, from its arrival to its end, as the metrics and the log see it."""

import asyncio
import logging
import time
from types import TracebackType
from typing import Self

from tessera.core.entry import INTERRUPTED
from tessera.core.events import FinishReason
from tessera.core.tally import Tally
from tessera.observe.logs import log
from tessera.observe.metrics import Metrics

CLIENT_GONE = "client_gone"
_TELLING = (FinishReason.LENGTH, FinishReason.TOOL_CALLS, FinishReason.STOP)

_logger = logging.getLogger(__name__)


class Meter:
    """Entered around a request. Its `tally` is kept by whoever makes the reply, and counted however it ends:
    a reply that was cut short has cost what it cost.
    """

    def __init__(self, metrics: Metrics, model_id: str, trace_id: str) -> None:
        """The clock runs from now."""
        self.tally = Tally()
        self._trace_id = trace_id
        self._metrics = metrics
        self._of_model = metrics.of(model_id)
        self.model_id = model_id
        self._state = self._of_model.waiting
        self.begun_s = time.monotonic()
        self.waited_s: float | None = None
        self.first_token_s: float | None = None
        self.failure: str | None = None

    def __enter__(self) -> Self:
        """It waits for its turn."""
        self._state.inc()
        return self

    def admit(self) -> None:
        """Its turn came."""
        self._state.dec()
        self._state = self._of_model.running
        self._state.inc()
        self.waited_s = self.age_s
        self._of_model.queue_s.observe(self.waited_s)

    def begin(self) -> None:
        """Its first token came."""
        self.first_token_s = self.age_s
        self._of_model.first_token_s.observe(self.first_token_s)

    def fail(self, code: str) -> None:
        """It will not have a whole reply."""
        self.failure = code

    def fail_of(self, error: BaseException) -> None:
        """It will not have a whole reply, for this reason."""
        if self.failure is None:
            self.failure = code_of(error)

    @property
    def outcome(self) -> str:
        """One word for how it ended: what failed, or the reason of its choices that says most."""
        reasons = self.tally.finished.values()
        return self.failure or next((reason for reason in _TELLING if reason in reasons), INTERRUPTED)

    @property
    def age_s(self) -> float:
        """Since its arrival."""
        return time.monotonic() - self.begun_s

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It has ended."""
        if error is not None:
            self.fail_of(error)
        self._state.dec()
        whole_s = self.age_s
        self._count_tokens()
        self._count_outcome(whole_s)
        self._log(whole_s)

    def _count_tokens(self) -> None:
        counts, tally = self._of_model, self.tally
        counts.prompt_tokens.inc(tally.prompt_tokens)
        counts.cached_tokens.inc(tally.cached_tokens)
        counts.generation_tokens.inc(tally.completion_tokens)
        counts.reasoning_tokens.inc(tally.reasoning_tokens)

    def _count_outcome(self, whole_s: float) -> None:
        metrics, counts, n_tokens = self._metrics, self._of_model, self.tally.completion_tokens
        if self.failure is not None:
            metrics.failures.labels(self.model_id, self.failure).inc()
            return
        for reason in self.tally.finished.values():
            metrics.successes.labels(self.model_id, reason.value).inc()
        counts.whole_s.observe(whole_s)
        if self.first_token_s is not None and n_tokens > 1:
            counts.per_token_s.observe((whole_s - self.first_token_s) / (n_tokens - 1))

    def _log(self, whole_s: float) -> None:
        tally = self.tally
        log(
            _logger,
            "info",
            "request",
            trace_id=self._trace_id,
            model=self.model_id,
            outcome=self.failure or ",".join(reason.value for reason in tally.finished.values()),
            prompt_tokens=tally.prompt_tokens,
            cached_tokens=tally.cached_tokens,
            completion_tokens=tally.completion_tokens,
            waited_s=_rounded(self.waited_s),
            first_token_s=_rounded(self.first_token_s),
            whole_s=_rounded(whole_s),
        )


def code_of(error: BaseException) -> str:
    """What goes wrong, in a word."""
    if isinstance(error, asyncio.CancelledError):  # the server goes away
        return INTERRUPTED
    code: object = getattr(error, "code", None)
    return code if isinstance(code, str) else "internal_error"


def _rounded(time_s: float | None) -> float | None:
    return None if time_s is None else round(time_s, 4)
