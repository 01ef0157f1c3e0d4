"""`tessera usage`: what was asked over HTTP, added up."""

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from tests.serving import TESSERA, Server, ask


@pytest.fixture
def usage(environment: dict[str, str]) -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    def run(*arguments: object) -> "subprocess.CompletedProcess[bytes]":
        command = [str(TESSERA), "usage", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, check=False)

    return run


def test_what_was_asked_is_added_up_in_every_form(
    service: Callable[..., Server], usage: Callable[..., Any], tmp_path: Path
) -> None:
    assert b"No usage yet" in usage().stderr
    server = service("--scripted-tokens-per-s", 10_000)
    with server.client() as client:
        for n_tokens in (3, 4):
            client.post("/v1/chat/completions", json=ask(max_tokens=n_tokens)).raise_for_status()
        told = client.get("/v1/usage").json()
    shown = json.loads(usage("--json").stdout)
    assert (shown["rows"], shown["totals"]) == (told["rows"], told["totals"])
    assert (told["totals"]["requests"], told["totals"]["completion_tokens"]) == (2, 7)
    (row,) = json.loads(usage("--format", "json", "--by", "account", "--account", "operator").stdout)["rows"]
    assert row == {"account": "operator", **told["totals"]}
    (row,) = csv.DictReader(io.StringIO(usage("--format", "csv", "--by", "model").stdout.decode()))
    assert (row["model"], row["completion_tokens"]) == ("tessera/scripted", "7")
    file = tmp_path / "usage.parquet"
    assert usage("--format", "parquet", "--by", "key", "--output", file).returncode == 0
    (row,) = pyarrow.parquet.read_table(file).to_pylist()
    assert row == {"key": row["key"], **told["totals"]}
    table = usage().stdout.decode().splitlines()
    assert table[0].split()[:2] == ["day", "requests"]
    assert table[-1].split() == ["total", *map(str, told["totals"].values())]
    assert json.loads(usage("--json", "--until", "2001-01-01").stdout)["rows"] == []
    server.stop()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--since", "soon"), "--since"),
        (("--account", ""), "account"),
        (("--account", "typo"), "no account 'typo'"),
        (("--output", "x"), "--format"),
        (("--by", "hour"), "--by"),
    ],
)
def test_what_cannot_be_asked_is_named(usage: Callable[..., Any], arguments: Any, named: str) -> None:
    refused = usage(*arguments)
    assert refused.returncode != 0
    assert named in refused.stderr.decode()


def test_without_pyarrow_parquet_says_what_is_missing(environment: dict[str, str]) -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None; from tessera.cli.main import main;"
        "main(['usage', '--format', 'parquet', '--output', 'x'])"
    )
    command = [TESSERA.with_name("python"), "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "tessera-serve[parquet]" in done.stderr
