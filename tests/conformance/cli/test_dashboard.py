"""The Grafana dashboard asks for metrics and labels that a running service has."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.serving import Server, ask, free_port

from tessera.observe import metrics

DASHBOARD = Path(__file__).parents[3] / "deploy/grafana/tessera.json"
BY_PROMETHEUS = {"job", "instance"}
UNITS = {"short", "none", "s", "percentunit", "reqps", "ops", "bytes"}

Labels = Mapping[str, set[str]]


def expressions(node: Any) -> Iterator[str]:
    """All PromQL in it."""
    match node:
        case dict():
            for key, value in node.items():
                if key in ("expr", "query", "definition") and isinstance(value, str):
                    yield value
                else:
                    yield from expressions(value)
        case list():
            for value in node:
                yield from expressions(value)
        case _:
            pass


def asked_for(expression: str) -> dict[str, set[str]]:
    """Metrics by their names, with the labels that are asked of each."""
    grouped = {
        label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")
    }
    shown = set(re.findall(r"^label_values\(.*, (\w+)\)$", expression))
    return {
        name: {*re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', matchers), *grouped, *shown}
        for name, matchers in re.findall(r"(tessera_\w+)(?:\{([^}]*)\})?", expression)
    }


def missing(expression: str, labels: Labels) -> list[str]:
    """What of it there is not."""
    asked = asked_for(expression)
    gone = [name for name in asked if name not in labels]
    known = {name: labels[name] | BY_PROMETHEUS for name in asked if name in labels}
    return gone + [f"{name}: {label}" for name in known for label in asked[name] - known[name]]


@pytest.fixture
def labels(service: Callable[..., Server]) -> Labels:
    """Every metric of a service that has answered, failed and refused; the engine's are those of any."""
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
    counts = dict.fromkeys([key for key, _, _ in (*metrics.ENGINE_GAUGES, *metrics.ENGINE_COUNTERS)], 1)
    counts |= {"blocks_used": 1, "blocks_total": 2}
    of_engine = metrics.exposition(None, lambda: {"m": counts})().decode()
    found: dict[str, set[str]] = defaultdict(set)
    text = httpx2.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60).text
    for family in text_string_to_metric_families(text + of_engine):
        for sample in family.samples:
            found[sample.name] |= set(sample.labels)
    return found


def test_every_metric_and_label_of_the_dashboard_is_there(labels: Labels) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    wanted = list(expressions(dashboard))
    assert len({name for each in wanted for name in asked_for(each)}) > 20
    assert {each: gone for each in wanted if (gone := missing(each, labels))} == {}
    # And it would be noticed if one were renamed.
    for name in ("tessera_store_up", "tessera_ledger_lag_seconds_bucket", "tessera_engine_steps_total"):
        renamed = {known: values for known, values in labels.items() if known != name}
        assert [each for each in wanted if missing(each, renamed)], name
    assert missing('sum by (kind, key) (tessera_requests_refused_total{status="1"})', labels)


def families(names: Iterable[str]) -> set[str]:
    """The names without what tells the samples of one metric apart."""
    return {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in names}


def test_every_metric_is_on_the_dashboard(labels: Labels) -> None:
    shown = families(
        name for each in expressions(json.loads(DASHBOARD.read_text())) for name in asked_for(each)
    )
    assert len(families(labels)) > 25
    assert families(labels) - shown == set()


def test_the_dashboard_is_tidy() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["Overview", "Latency", "Engine", "Admission", "Limits", "Ledger and store"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = set().union(*asked_for(target["expr"]).values())
            assert shown <= grouped, panel["title"]
