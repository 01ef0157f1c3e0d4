"""An engine is a row: one that Tessera does not know is added and served, in this environment or another."""

import os
import signal
import sys
import sysconfig
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conformance.engines.tiny_engine import GREETING
from tests.serving import Server, Start, ask, children, command
from tests.waiting import wait_for

from tessera.engine.registry import ENGINES, engine_row
from tessera.errors import StartupError
from tessera.settings import Settings

Serve = Callable[..., Server]


def engines(server: Server) -> list[int]:
    return [id for id in children(server.process.pid) if "engine.host.worker" in command(id)]


def test_an_engine_that_is_added_is_served(serve_tiny: Serve) -> None:
    server = serve_tiny(TESSERA_ENGINE="tiny")
    assert server.announced[0].startswith("Serving tiny")
    with server.client() as client:
        (card, _) = client.get("/v1/models").json()["data"]
        assert (card["id"], card["context_length"], card["features"]) == ("tiny", 4096, [])
        reply = client.post("/v1/chat/completions", json=ask(max_tokens=200)).json()["choices"][0]
        assert reply["message"]["content"] == f"{GREETING} {sys.prefix}"
        assert reply["finish_reason"] == "stop"
        short = client.post("/v1/chat/completions", json=ask(max_tokens=1)).json()["choices"][0]
        assert short["finish_reason"] == "length"
        assert client.post("/v1/chat/completions", json=ask(n=2)).status_code == 400
        (engine,) = engines(server)
        os.kill(engine, signal.SIGKILL)
        # Until it has been started again, requests may be refused.
        wait_for(lambda: client.get("/readyz").status_code == 200 and engines(server) not in ([], [engine]))
        again = client.post("/v1/chat/completions", json=ask(max_tokens=200)).json()["choices"][0]
        assert again == reply
    assert server.stop()[0] == 0


def test_an_engine_lives_in_an_environment_of_its_own(serve_tiny: Serve, tmp_path: Path) -> None:
    own = tmp_path / "own"
    venv.create(own, with_pip=False)
    python = own / "bin/python"
    folder = sysconfig.get_path("purelib", vars={"base": str(own)})
    (Path(folder) / "shared.pth").write_text("\n".join(path for path in sys.path if path))
    server = serve_tiny(TESSERA_ENGINE="tiny", TESSERA_ENGINE_PYTHON=str(python))
    with server.client() as client:
        reply = client.post("/v1/chat/completions", json=ask(max_tokens=200)).json()["choices"][0]
    assert reply["message"]["content"] == f"{GREETING} {own}"
    (engine,) = engines(server)
    assert command(engine).startswith(f"{python} ")
    assert server.stop()[0] == 0


def test_an_interpreter_that_is_not_there_stops_the_start(start_tiny: Start, tmp_path: Path) -> None:
    missing = tmp_path / "absent/python"
    process = start_tiny(TESSERA_ENGINE="tiny", TESSERA_ENGINE_PYTHON=str(missing))
    _, log = process.communicate(timeout=300)
    assert process.returncode != 0
    assert f"could not be started as {missing}" in log


def test_an_engine_that_there_is_not_stops_the_start_and_all_are_named() -> None:
    with pytest.raises(StartupError) as refused:
        engine_row(Settings(engine="nothing"))
    assert refused.value.message == f"engine is 'nothing': one of auto, {', '.join(ENGINES)} is needed."
