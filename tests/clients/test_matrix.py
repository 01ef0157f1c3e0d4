"""The matrix of clients itself, with the one client that development has."""

import json
import sys
from pathlib import Path

import pytest
from tests.clients.directed import chosen, spelled
from tests.clients.server import Exchange, Scripted, scripted
from tests.clients.table import CHECKS, CLIENTS, ERRORS
from tests.clients.trying import attempt

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


def test_the_official_client_passes(installed: Path, tmp_path: Path) -> None:
    with scripted() as server:
        result = attempt(CLIENTS[0], installed, server, None, tmp_path)
    assert result.failures == []
    assert {*result.checks} == {*CHECKS, *ERRORS} - {"real"}


def test_a_refused_request_is_a_failure(installed: Path, tmp_path: Path) -> None:
    """Also one that the client is content with."""

    class Refusing(list[Exchange]):
        def clear(self) -> None:
            body = b'{"tools": [{}]}'
            self[:] = [
                Exchange("/v1/chat/completions", body, 400, "", "no"),
                Exchange("/v1/models", b"", 200, "", ""),
            ]

    with scripted() as server:
        server.recorder.exchanges = Refusing()
        result = attempt(CLIENTS[0], installed, server, None, tmp_path)
    assert result.failures == ['/v1/chat/completions was refused, 400: no to {"tools": [{}]}']


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_a_directive_is_followed_turn_by_turn(turns: int) -> None:
    directive = "[[say]]WyJvbmUiLCAidHdvIl0=[[end]]"
    history = "<|im_start|>assistant\n" * (turns + 1)
    assert chosen(f"{directive}{history}", {}) == {"text": "two" if turns else "one"}


def test_a_call_is_spelled_as_the_family_does() -> None:
    reply = {"calls": [["weather", {"city": "León"}]]}
    assert json.loads(spelled(HERMES, reply).split("\n")[1])["arguments"] == {"city": "León"}
    assert "<parameter=city>\nLeón\n</parameter>" in spelled(QWEN3, reply)


def test_the_server_has_keys_of_all_kinds() -> None:
    with scripted() as server:
        assert isinstance(server, Scripted)
        assert len({server.key, server.small_key, server.spent_key}) == 3
