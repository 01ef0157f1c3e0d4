from collections import defaultdict
from collections.abc import Callable

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.conformance.cli.exposed import Labels
from tests.otlp_receiver import receiver
from tests.serving import Server, Start, ask, environment, free_port, service, start

from tessera.observe import exposition

__all__ = ["environment", "receiver", "service", "start"]


@pytest.fixture
def tessera(start: Start) -> Callable[..., tuple[int, str, str]]:
    """Runs `tessera` to its end; returns the exit code, standard output and standard error."""

    def run(*arguments: object, stdin: str = "", **variables: str) -> tuple[int, str, str]:
        process = start(*arguments, **variables)
        output, errors = process.communicate(stdin, timeout=300)
        return process.returncode, output, errors

    return run


@pytest.fixture
def labels(service: Callable[..., Server]) -> Labels:
    """The labels of every metric of a service that has answered, failed and refused."""
    port = free_port()
    tiers = "{operator = {sustained_rpm = 2, burst_rpm = 2}}"  # what is refused does not count
    server = service("--admin-port", port, "--tiers", tiers, "--context-tokens", 64)
    with server.client() as client:
        statuses = [
            client.post("/v1/chat/completions", json=body).status_code
            for body in (
                ask(messages=[{"role": "user", "content": "long " * 99}]),
                ask(),
                ask(stream=True),
                ask(),
            )
        ]
    assert statuses == [413, 200, 200, 429]
    counts = dict.fromkeys([key for key, _, _ in (*exposition.ENGINE_GAUGES, *exposition.ENGINE_COUNTERS)], 1)
    counts |= {"blocks_used": 1, "blocks_total": 2}
    of_engine = exposition.exposition(None, lambda: {"m": counts})().decode()
    found: dict[str, set[str]] = defaultdict(set)
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60).text
    for family in text_string_to_metric_families(text + of_engine):
        for sample in family.samples:
            found[sample.name] |= set(sample.labels)
    return found
