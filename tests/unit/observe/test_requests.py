import io
import json
import logging
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from tessera.core.chat import ChatRequest
from tessera.core.events import FinishReason
from tessera.core.record import CLIENT_GONE, RequestRecord, RequestStep
from tessera.errors import EngineTimeout, RateLimited
from tessera.http.errors import ClientGone
from tessera.observe.logs import MAX_A_SECOND, JsonLines, Repetitions
from tessera.observe.metrics import Metrics
from tessera.observe.requests import RequestMetrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def received(metrics: Metrics) -> RequestRecord:
    record = RequestRecord("req_7", "acc_1", "key_1", readers=[RequestMetrics(metrics)])
    record.ask(ChatRequest(()), reply_id="chatcmpl-1", model="m", streamed=True)
    record.reach(RequestStep.READ)
    return record


def count(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"tessera_{name}", {"model": "m", **labels})


def test_a_whole_reply_is_counted(metrics: Metrics) -> None:
    with received(metrics) as record:
        assert (count(metrics, "num_requests_waiting"), count(metrics, "num_requests_running")) == (1, 0)
        record.reach(RequestStep.STARTED)
        assert (count(metrics, "num_requests_waiting"), count(metrics, "num_requests_running")) == (0, 1)
        record.reach(RequestStep.FIRST_TOKEN)
        tally = record.tally
        tally.prompt_tokens, tally.cached_tokens = 10, 4
        tally.completion_tokens, tally.reasoning_tokens = 7, 3
        tally.finished |= {0: FinishReason.STOP, 1: FinishReason.LENGTH}
    assert count(metrics, "num_requests_running") == 0
    assert count(metrics, "prompt_tokens_total") == 10
    assert count(metrics, "prompt_tokens_cached_total") == 4
    assert count(metrics, "generation_tokens_total") == 7
    assert count(metrics, "reasoning_tokens_total") == 3
    assert count(metrics, "request_success_total", finished_reason="stop") == 1
    assert count(metrics, "request_success_total", finished_reason="length") == 1
    for name in (
        "request_queue_time_seconds",
        "time_to_first_token_seconds",
        "request_time_per_output_token_seconds",
        "e2e_request_latency_seconds",
    ):
        assert count(metrics, f"{name}_count") == 1


def test_what_is_cut_short_is_counted_with_its_tokens(metrics: Metrics) -> None:
    for error in (EngineTimeout("late"), RuntimeError()):
        with suppress(type(error)), received(metrics) as record:
            record.reach(RequestStep.STARTED)
            record.tally.completion_tokens = 3
            raise error
    with received(metrics) as record:
        record.reach(RequestStep.STARTED)
        record.fail(ClientGone())
    codes = ("engine_timeout", "internal_error", CLIENT_GONE)
    assert [count(metrics, "request_failure_total", code=code) for code in codes] == [1, 1, 1]
    assert count(metrics, "generation_tokens_total") == 6
    assert (count(metrics, "num_requests_waiting"), count(metrics, "num_requests_running")) == (0, 0)
    assert count(metrics, "e2e_request_latency_seconds_count") == 0


def test_a_request_is_one_line_in_the_log(metrics: Metrics, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tessera.observe"), received(metrics) as record:
        record.reach(RequestStep.STARTED)
        record.tally.prompt_tokens = 5
        record.tally.finished[0] = FinishReason.STOP
    (line,) = caplog.records
    fields: dict[str, Any] = vars(line)["fields"]
    assert (line.message, fields["trace_id"], fields["outcome"]) == ("request", "req_7", "stop")
    assert (fields["prompt_tokens"], fields["first_token_s"]) == (5, None)


def test_refusals_without_a_limit_leave_the_lines_of_answered_requests(metrics: Metrics) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    handler.addFilter(Repetitions())
    logger = logging.getLogger("tessera.observe.requests")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        for _ in range(500):
            with suppress(RateLimited), received(metrics):
                raise RateLimited("too many", retry_after_s=1)
            with received(metrics) as record:
                record.reach(RequestStep.STARTED)
                record.reach(RequestStep.FIRST_TOKEN)
                record.fail(ClientGone())
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    outcomes = Counter(json.loads(line)["outcome"] for line in stream.getvalue().splitlines())
    assert outcomes[CLIENT_GONE] == 500
    assert MAX_A_SECOND <= outcomes[RateLimited("").code] < 500
