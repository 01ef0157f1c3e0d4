"""The reader of request records that counts them in the metrics and logs each as one line."""

import logging
from dataclasses import dataclass

from tessera.core.record import RequestRecord, RequestStep
from tessera.observe.logs import log
from tessera.observe.metrics import Metrics, ModelMetrics

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RequestMetrics:
    """A `RecordReader`. Requests that were refused before they were read are not counted."""

    metrics: Metrics

    def reached(self, record: RequestRecord, step: RequestStep) -> None:
        counts = self._counts(record)
        if step is RequestStep.READ:
            counts.waiting.inc()
        elif step is RequestStep.STARTED:
            counts.waiting.dec()
            counts.running.inc()
            counts.queue_s.observe(record.after_s(step) or 0.0)
        elif step is RequestStep.FIRST_TOKEN:
            counts.first_token_s.observe(record.after_s(step) or 0.0)

    def closed(self, record: RequestRecord) -> None:
        if (whole_s := record.whole_s) is None:
            return
        counts = self._counts(record)
        (counts.waiting if record.after_s(RequestStep.STARTED) is None else counts.running).dec()
        self._count_tokens(record)
        self._count_outcome(record, whole_s)
        self._log(record, whole_s)

    def _counts(self, record: RequestRecord) -> ModelMetrics:
        assert record.asked is not None, "read"
        return self.metrics.of(record.asked.model)

    def _count_tokens(self, record: RequestRecord) -> None:
        counts = self._counts(record)
        tally = record.tally
        counts.prompt_tokens.inc(tally.prompt_tokens)
        counts.cached_tokens.inc(tally.cached_tokens)
        counts.generation_tokens.inc(tally.completion_tokens)
        counts.reasoning_tokens.inc(tally.reasoning_tokens)

    def _count_outcome(self, record: RequestRecord, whole_s: float) -> None:
        assert record.asked is not None, "read"
        model = record.asked.model
        if record.failure is not None:
            self.metrics.failures.labels(model, record.failure).inc()
            return
        for reason in record.tally.finished.values():
            self.metrics.successes.labels(model, reason.value).inc()
        counts = self._counts(record)
        counts.whole_s.observe(whole_s)
        first_token_s = record.after_s(RequestStep.FIRST_TOKEN)
        n_tokens = record.tally.completion_tokens
        if first_token_s is not None and n_tokens > 1:
            counts.per_token_s.observe((whole_s - first_token_s) / (n_tokens - 1))

    def _log(self, record: RequestRecord, whole_s: float) -> None:
        assert record.asked is not None, "read"
        tally = record.tally
        log(
            _logger,
            "info",
            "request",
            trace_id=record.request_id,
            model=record.asked.model,
            outcome=record.failure or ",".join(reason.value for reason in tally.finished.values()),
            prompt_tokens=tally.prompt_tokens,
            cached_tokens=tally.cached_tokens,
            completion_tokens=tally.completion_tokens,
            waited_s=_rounded(record.after_s(RequestStep.STARTED)),
            first_token_s=_rounded(record.after_s(RequestStep.FIRST_TOKEN)),
            whole_s=_rounded(whole_s),
        )


def _rounded(time_s: float | None) -> float | None:
    return None if time_s is None else round(time_s, 4)
