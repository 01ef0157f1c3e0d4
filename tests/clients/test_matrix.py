"""The matrix of clients itself, with the one client that development has."""

import json
import sys
from pathlib import Path

import httpx2
import pytest
from tests.clients import installing
from tests.clients.directed import chosen, spelled
from tests.clients.server import scripted
from tests.clients.table import CHECKS, CLIENTS, ERRORS, Client
from tests.clients.trying import attempt, refusals

from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The environment of the tests, as if it were that of the client."""
    folder = tmp_path / "client"
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return folder


@pytest.mark.parametrize("client", [CLIENTS[0], CLIENTS[2]], ids=lambda client: client.source)
def test_what_cannot_be_installed_is_said_and_tried_again(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installing, "HOME", tmp_path)
    for name, failing in (("UV", Path("/bin/false")), ("NPM", ("/bin/false",))):
        monkeypatch.setattr(installing, name, failing)
    for _ in range(2):
        with pytest.raises(installing.NotInstalled):
            installing.install(client)


def test_the_official_client_passes(installed: Path, tmp_path: Path) -> None:
    with scripted() as server:
        result = attempt(CLIENTS[0], installed, server, None, tmp_path)
    assert result.failures == []
    assert {*result.checks} == {*CHECKS, *ERRORS} - {"real"}


def test_a_refused_request_is_found_unless_it_is_expected() -> None:
    with scripted() as server, httpx2.Client(base_url=server.url, trust_env=False) as http:
        http.headers["Authorization"] = f"Bearer {server.key}"
        for path in ("/v1", "/expected/v1"):
            assert http.post(f"{path}/chat/completions", json={"n": 99}).status_code == 400
        (found,) = refusals(server.recorder.exchanges)
    assert found.startswith("/v1/chat/completions was refused, 400: ")
    assert found.endswith('{"n":99}')


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_directive_is_followed_turn_by_turn(turns: int) -> None:
    directive = "[[say]]WyJvbmUiLCAidHdvIl0=[[end]]"
    history = "<|im_start|>assistant\n" * (turns + 1)
    assert chosen(f"{directive}{history}", {}) == {"text": "two" if turns else "one"}


def test_a_call_is_spelled_as_the_family_does() -> None:
    reply = {"calls": [["weather", {"city": "León"}]]}
    assert json.loads(spelled(HERMES, reply).split("\n")[1])["arguments"] == {"city": "León"}
    assert "<parameter=city>\nLeón\n</parameter>" in spelled(QWEN3, reply)
