"""Each alert asks for metrics that a running service has, fires when it should, and is explained.

Prometheus' own `promtool` evaluates the rules. The series of the cases below have the names and labels of a
real exposition, which `labels` reads.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.cli.exposed import Labels, asked_for, missing

DEPLOY = Path(__file__).parents[3] / "deploy"
ALERTS = DEPLOY / "alerts.yml"
DOCS = Path(__file__).parents[3] / "docs"
WHERE = 'job="tessera", instance="a:9464"'
OF_MODEL = f'{WHERE}, model="m"'


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation, with a sample for each minute. The alert fires with `bad`, never with
    `good`.
    """

    alert: str
    minutes: int
    bad: Mapping[str, str]
    good: Mapping[str, str]

    def __post_init__(self) -> None:
        assert self.bad.keys() == self.good.keys()


def responses(failed_a_minute: int) -> dict[str, str]:
    return {
        f'tessera_http_responses_total{{{WHERE}, status="200"}}': "0+100x60",
        f'tessera_http_responses_total{{{WHERE}, status="503"}}': f"0+{failed_a_minute}x60",
    }


def first_tokens(within_5_s: int, within_10_s: int) -> dict[str, str]:
    buckets = {"2.5": within_5_s // 2, "5.0": within_5_s, "10.0": within_10_s, "+Inf": within_10_s}
    return {
        f'tessera_time_to_first_token_seconds_bucket{{{OF_MODEL}, le="{le}"}}': f"0+{n}x60"
        for le, n in buckets.items()
    }


def queue(waiting: str) -> dict[str, str]:
    return {
        f"tessera_num_requests_waiting{{{OF_MODEL}}}": waiting,
        f"tessera_num_requests_running{{{OF_MODEL}}}": "8x60",
    }


def one(series: str, bad: str, good: str) -> tuple[dict[str, str], dict[str, str]]:
    return {series: bad}, {series: good}


CASES = [
    Case("TesseraDown", 5, *one(f"up{{{WHERE}}}", "0x60", "1x60")),
    Case("TesseraEngineDown", 5, *one(f"tessera_engine_up{{{OF_MODEL}}}", "1 0x60", "1 0 1x60")),
    Case(
        "TesseraEngineRestarts",
        40,
        *one(f"tessera_engine_restarts_total{{{OF_MODEL}}}", "0+0.1x60", "0x20 1x40"),
    ),
    Case("TesseraQueueGrowing", 20, queue("9x60"), queue("7x60")),
    Case("TesseraStoreDown", 5, *one(f"tessera_store_up{{{WHERE}}}", "1 0x60", "1x60")),
    Case(
        "TesseraSpoolGrowing",
        30,
        *one(f"tessera_spool_entries{{{WHERE}}}", "1+2x60", "5 5 0 5 5 0x50"),
    ),
    Case("TesseraLimiterFallback", 10, *one(f"tessera_limiter_fallback{{{WHERE}}}", "2x60", "0 1 0x60")),
    Case("TesseraErrors", 15, responses(10), responses(1)),
    Case("TesseraFirstTokenSlow", 20, first_tokens(80, 100), first_tokens(99, 100)),
    Case("TesseraDiskFull", 10, *one(f"tessera_disk_free_bytes{{{WHERE}}}", "1e9x60", "1e10x60")),
]


def rules() -> dict[str, str]:
    """The expression of each alert; the file is simple enough to be read without a library for YAML."""
    found: dict[str, str] = {}
    for name, body in re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", ALERTS.read_text(), re.DOTALL):
        expression = re.search(r"expr: (?:>-\n)?(.*?)\n +for:|expr: (.*?)\n", body, re.DOTALL)
        assert expression
        found[name] = " ".join((expression[1] or expression[2]).split())
    return found


def test_every_alert_has_a_case() -> None:
    assert [case.alert for case in CASES] == list(rules())


def test_every_metric_and_label_of_the_alerts_is_there(labels: Labels) -> None:
    wanted = rules()
    assert {name for each in wanted.values() for name in asked_for(each)} > {"tessera_engine_up"}
    assert {name: gone for name, each in wanted.items() if (gone := missing(each, labels))} == {}
    series = [name for case in CASES for name in case.bad if name.startswith("tessera_")]
    assert {each: gone for each in series if (gone := missing(each, labels))} == {}


@pytest.mark.parametrize("language", ["en", "es"])
def test_every_alert_is_explained(language: str) -> None:
    page = (DOCS / language / "operations/monitoring.md").read_text()
    assert re.findall(r"^\| `(Tessera\w+)` \|", page, re.MULTILINE) == list(rules())


def test_the_page_shows_the_files_that_are_shipped() -> None:
    pages = "".join(path.read_text() for path in (DOCS / "en/operations").glob("*.md"))
    for name, language in {
        "prometheus.yml": "yaml",
        "compose.yaml": "yaml",
        "Caddyfile": "caddyfile",
        "nginx.conf": "nginx",
    }.items():
        assert f"```{language}\n{(DEPLOY / name).read_text()}```" in pages, name


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if not found:
        pytest.skip("promtool is not installed: it is in Debian's package prometheus")
    return found


def evaluate(promtool: str, tests: list[dict[str, Any]], folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs promtool on the tests, which are written as JSON: that is YAML too."""
    shutil.copy(ALERTS, folder)
    asked = {"rule_files": [ALERTS.name], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yml").write_text(json.dumps(asked))
    command = [promtool, "test", "rules", "tests.yml"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def trial(case: Case, series: Mapping[str, str], n_alerts: int) -> dict[str, Any]:
    shown = f'count(ALERTS{{alertname="{case.alert}", alertstate="firing"}}) or vector(0)'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": shown,
                "eval_time": f"{case.minutes}m",
                "exp_samples": [{"labels": "{}", "value": n_alerts}],
            }
        ],
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_should_and_only_then(case: Case, promtool: str, tmp_path: Path) -> None:
    fitting = [trial(case, case.bad, 1), trial(case, case.good, 0)]
    done = evaluate(promtool, fitting, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    swapped = [trial(case, case.bad, 0), trial(case, case.good, 1)]
    assert evaluate(promtool, swapped, tmp_path).returncode != 0


def test_prometheus_accepts_the_configuration(promtool: str) -> None:
    command = [promtool, "check", "config", DEPLOY / "prometheus.yml"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(CASES)} rules found" in done.stdout
