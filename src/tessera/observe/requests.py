"""The reader of request records that counts them in the metrics and logs each as one line."""

import logging
from dataclasses import fields

from tessera.core.record import RequestRecord, RequestStep
from tessera.observe.logs import Field, log, log_repeating
from tessera.observe.metrics import Metrics, ModelMetrics

_logger = logging.getLogger(__name__)


class RequestMetrics:
    """A `RecordReader`. Requests that were refused before they were read are not counted."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Kept, because looking a metric up by its labels takes longer than counting.
        self._of_models: dict[str, ModelMetrics] = {}

    def reached(self, record: RequestRecord, step: RequestStep) -> None:
        assert record.asked is not None, "read"
        counts = self._of(record.asked.model)
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
        assert record.asked is not None, "read"
        model, tally = record.asked.model, record.tally
        counts = self._of(model)
        (counts.waiting if record.after_s(RequestStep.STARTED) is None else counts.running).dec()
        counts.prompt_tokens.inc(tally.prompt_tokens)
        counts.cached_tokens.inc(tally.cached_tokens)
        counts.generation_tokens.inc(tally.completion_tokens)
        counts.reasoning_tokens.inc(tally.reasoning_tokens)
        _log(record, model, whole_s)
        if record.failure is not None:
            self._metrics.failures.labels(model, record.failure).inc()
            return
        for reason in tally.finished.values():
            self._metrics.successes.labels(model, reason.value).inc()
        counts.whole_s.observe(whole_s)
        first_token_s = record.after_s(RequestStep.FIRST_TOKEN)
        if first_token_s is not None and tally.completion_tokens > 1:
            counts.per_token_s.observe((whole_s - first_token_s) / (tally.completion_tokens - 1))

    def _of(self, model: str) -> ModelMetrics:
        counts = self._of_models.get(model)
        if counts is None:
            names = [each.name for each in fields(ModelMetrics)]
            labelled = {name: getattr(self._metrics, name).labels(model) for name in names}
            counts = self._of_models[model] = ModelMetrics(**labelled)
        return counts


def _log(record: RequestRecord, model: str, whole_s: float) -> None:
    tally = record.tally
    times_s = {
        "waited_s": record.after_s(RequestStep.STARTED),
        "first_token_s": record.after_s(RequestStep.FIRST_TOKEN),
        "whole_s": whole_s,
    }
    fields: dict[str, Field] = {
        "trace_id": record.request_id,
        "account": record.account,
        "key_id": record.key_id,
        "client": record.client,
        "model": model,
        "outcome": record.failure or ",".join(reason.value for reason in tally.finished.values()),
        "prompt_tokens": tally.prompt_tokens,
        "cached_tokens": tally.cached_tokens,
        "completion_tokens": tally.completion_tokens,
        **{name: None if time_s is None else round(time_s, 4) for name, time_s in times_s.items()},
    }
    if record.failure is not None and times_s["first_token_s"] is None:
        # It has cost little, such as a 429: a client can cause it as often as it can send.
        log_repeating(_logger, "info", "request", record.failure, **fields)
    else:
        log(_logger, "info", "request", **fields)
