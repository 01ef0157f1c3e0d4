"""The Grafana dashboard asks for metrics and labels that a running service has."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.conformance.cli.exposed import Labels, asked_for, missing

DASHBOARD = Path(__file__).parents[3] / "deploy/grafana/tessera.json"
UNITS = {"short", "none", "s", "percentunit", "reqps", "ops", "bytes"}


def expressions(node: Any) -> Iterator[str]:
    """All PromQL expressions below the node."""
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
    """The names of the metrics, without the endings of their samples."""
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
