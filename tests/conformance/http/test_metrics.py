"""What the admin listener shows after real requests."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from tests.conformance.http.conftest import Connect
from tests.conftest import Serve

from tessera.engine.scripted.engine import failing, saying
from tessera.errors import GenerationFailed
from tessera.http.admin.app import admin_app
from tessera.observe.exposition import exposition

CANARY = "canary-content"


def test_requests_are_counted_and_nothing_of_them_is_shown(
    serve: Serve, connect: Connect, run_app: Callable[..., AbstractContextManager[int]]
) -> None:
    served = serve()
    served.engine.script = saying(served.tokenizer, f"{CANARY} one two")
    for stream in (False, True):
        raw = connect(served)
        raw.ask(stream=stream, user=CANARY)
        raw.read_until(b"[DONE]" if stream else b'"total_tokens"')
    served.engine.script = failing(served.engine.script, GenerationFailed("broken"), after=0)
    raw = connect(served)
    raw.ask()
    assert raw.read_response()[0] == 502
    gone = connect(served)
    served.wait_until_idle()
    with run_app(admin_app(exposition(served.metrics, dict))) as port:
        reply = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60)
        assert httpx2.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=60).status_code == 200
    assert gone.seen == b""
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(reply.text))
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }
    model = served.engine.info.model_id
    assert samples["tessera_request_success_total", "stop", model] == 2
    assert samples["tessera_request_failure_total", "generation_failed", model] == 1
    assert samples["tessera_time_to_first_token_seconds_count", model] == 2
    assert samples["tessera_num_requests_running", model] == 0
    assert samples["tessera_http_responses_total", "200"] == 2
    assert samples["tessera_http_responses_total", "502"] == 1
    assert samples["tessera_generation_tokens_total", model] > 10
    for secret in (CANARY, served.key, served.key[-8:], "operator"):
        assert secret not in reply.text
    labels = {name for family in families for sample in family.samples for name in sample.labels}
    assert labels <= {"model", "le", "finished_reason", "code", "status", "call", "priority"}
