"""The server's children: what they import, where clients' schemas are worked on, and how all of it ends."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.serving import TESSERA, Server, announced, ask, children, command, environment, start
from tests.waiting import wait_for

from tessera.processes.children import chosen, without_secrets

__all__ = ["environment", "start"]

SOURCE = Path(__file__).parents[2] / "src" / "tessera"
pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
LIBRARIES = ("jsonschema_rs", "llguidance", "jinja2")
WORKERS = pytest.mark.parametrize("workers", [1, 2])

OBJECT = {"type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"]}


def answer(schema: Any, *, strict: bool = True) -> dict[str, Any]:
    named = {"name": "s", "schema": schema, "strict": strict}
    return ask(response_format={"type": "json_schema", "json_schema": named}, max_tokens=200)


def call(schema: Any) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    return ask(tools=[tool], tool_choice="required", max_tokens=200)


def fan_out(depth: int) -> dict[str, Any]:
    """A schema whose definitions each refer twice to the next: following all references takes 2 ** depth
    steps.
    """

    def reference(i: int) -> dict[str, Any]:
        return {"$ref": f"#/$defs/d{i}"}

    definitions: dict[str, Any] = {
        f"d{i}": {
            "type": "object",
            "properties": {"a": reference(i + 1), "b": reference(i + 1)},
            "required": ["a", "b"],
        }
        for i in range(depth)
    }
    definitions[f"d{depth}"] = {"type": "string"}
    return {"oneOf": [reference(0), reference(0)], "$defs": definitions}


def forks(id: int) -> str:
    """The children of all threads of a process."""
    return "".join(path.read_text() for path in Path(f"/proc/{id}/task").glob("*/children"))


@pytest.fixture
def serving(environment: dict[str, str]) -> Iterator[Callable[..., Server]]:
    """Starts a server in a folder."""
    started: list[subprocess.Popen[str]] = []

    def one(folder: Path, *arguments: object, **variables: str) -> Server:
        process = subprocess.Popen(
            [TESSERA, "serve", "--engine", "scripted", "--port", "0", *map(str, arguments)],
            env={**environment, **variables},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return announced(process)

    yield one
    for process in started:
        with process:
            process.kill()


def decoys(folder: Path) -> Path:
    """A folder with a module of every name that a child may import; each leaves a trace and fails."""
    folder.mkdir()
    trace = folder.parent / "imported"
    names = {*sys.stdlib_module_names, "tessera", "msgspec", "numpy", "pip", "uvloop", *LIBRARIES}
    for name in names | {"sitecustomize", "usercustomize"}:
        harm = f"open({str(trace)!r}, 'a').write(__name__ + ' ')\nraise SystemExit(9)\n"
        (folder / f"{name}.py").write_text(harm)
    return folder


@WORKERS
def test_a_folder_full_of_modules_is_imported_by_no_child(
    serving: Callable[..., Server], tmp_path: Path, workers: int
) -> None:
    server = serving(decoys(tmp_path / "decoys"), "--workers", workers)
    with server.client() as client:
        for body in (answer(OBJECT), call(OBJECT)):
            reply = client.post("/v1/chat/completions", json=body, timeout=60)
            assert reply.status_code == 200, reply.text
    assert not (tmp_path / "imported").exists(), (tmp_path / "imported").read_text()


def test_children_are_started_in_one_place() -> None:
    starts = re.compile(
        r"sys\.executable|create_subprocess|\bPopen\b|subprocess\.run|multiprocessing|os\.fork"
    )
    found = {
        str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py") if starts.search(path.read_text())
    }
    # The second takes its command and environment from the first; forks import nothing. The probe of vLLM
    # only tells how it is started, and what a cluster is asked with is Ray's own program.
    assert found == {
        "processes/children.py",
        "processes/once.py",
        "cluster/connection.py",
        "engine/vllm/probe.py",
        "grammars/process.py",
    }


@WORKERS
def test_no_api_process_loads_what_works_on_schemas(
    serving: Callable[..., Server], tmp_path: Path, workers: int
) -> None:
    server = serving(tmp_path, "--workers", workers)
    with server.client() as client:
        for body in (answer(OBJECT), call(OBJECT), answer(fan_out(30)), ask(stop=["x"])):
            assert client.post("/v1/chat/completions", json=body, timeout=60).status_code in {200, 400}
    processes = [server.process.pid, *server.workers()]
    assert len(processes) == (1 if workers == 1 else 3)
    for id in processes:
        assert not [name for name in LIBRARIES if name in Path(f"/proc/{id}/maps").read_text()]
    family = [child for id in processes for child in children(id) if "grammars.process" in command(child)]
    assert any("llguidance" in Path(f"/proc/{id}/maps").read_text() for id in family)


def test_an_api_process_imports_no_such_library() -> None:
    program = (
        f"import sys, tessera.server.api, tessera.server.parent; print({{*sys.modules}} & {{*{LIBRARIES!r}}})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("module", ["grammars.process", "validation_process"])
@WORKERS
def test_a_child_that_cannot_work_stops_start_up(
    start: Callable[..., "subprocess.Popen[str]"], tmp_path: Path, workers: int, module: str
) -> None:
    broken = f"import os, sys\nif any({module!r} in each for each in sys.orig_argv): os._exit(3)\n"
    (tmp_path / "sitecustomize.py").write_text(broken)
    process = start(
        *("serve", "--engine", "scripted", "--port", "0", "--workers", workers), PYTHONPATH=str(tmp_path)
    )
    said, log = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "export TESSERA_API_KEY" not in said
    assert "cannot work: it ended with exit code 3" in log


def test_hostile_schemas_do_not_hold_up_the_end(serving: Callable[..., Server], tmp_path: Path) -> None:
    server = serving(tmp_path, "--shutdown-grace-s", 2, "--drain-delay-s", 0)
    dear = {
        "type": "string",
        "allOf": [{"pattern": f"^(a|{chr(98 + i)})*.{{{i + 3}}}$"} for i in range(20)],
    }
    schemas = [{**dear, "description": str(i)} for i in range(12)]

    def attack(schema: Any) -> None:
        with suppress(httpx2.HTTPError), server.client() as client:
            client.post("/v1/chat/completions", json=answer(schema), timeout=60)

    def is_at_work() -> bool:
        return any("grammars.process" in command(id) and forks(id) for id in children(server.process.pid))

    with ThreadPoolExecutor(12) as attackers:
        for schema in schemas:
            attackers.submit(attack, schema)
        wait_for(is_at_work)
        family = children(server.process.pid)
        begun = time.monotonic()
        code, _ = server.stop()
        assert time.monotonic() - begun < 120
    assert code == 0
    wait_for(lambda: not any("grammars.process" in command(id) for id in family))


def test_a_killed_server_leaves_no_child(serving: Callable[..., Server], tmp_path: Path) -> None:
    server = serving(tmp_path)
    with server.client() as client:
        client.post("/v1/chat/completions", json=answer(OBJECT), timeout=60)
    family = children(server.process.pid)
    assert family
    server.process.kill()
    wait_for(lambda: not any("tessera." in command(id) for id in family))


def test_an_empty_entry_of_pythonpath_reaches_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_API_KEY", "secret")
    for value in (":", "::/x", "/x:", ""):
        monkeypatch.setenv("PYTHONPATH", value)
        for given in (chosen("PATH"), without_secrets()):
            assert given.get("PYTHONPATH") == ("/x" if "/x" in value else None)
            assert given["PYTHONSAFEPATH"] == "1"
            assert "TESSERA_API_KEY" not in given
    monkeypatch.setenv("PYTHONPATH", "src")
    assert chosen()["PYTHONPATH"] == os.path.abspath("src")
