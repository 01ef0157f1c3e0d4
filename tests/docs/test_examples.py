"""The code on all pages, in both languages, runs as it is printed: curl and commands, Python and Node."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from tests.clients.table import CLIENTS
from tests.docs.blocks import NOT_RUN, PAGES, Block, blocks, left_out, statements
from tests.postgres import Postgres
from tests.serving import TESSERA, Server, announced, free_port, launching, starting
from tests.waiting import wait_for

from tessera.http.web.markup import TABS

NODE = Path(__file__).parents[1] / "conformance/clients"
ADMIN_KEY = "admin-" + "k" * 40
FOLDERS = ("/var/lib/tessera", "/var/backups/tessera", "/etc/tessera")
SHOWN_KEY = "key_0123456789abcdef0123"
SHOWN_DATABASE = "postgresql://tessera:secret@db.example/tessera"

SHELL = [block for block in blocks("sh") if any(left_out(each) is None for each in statements(block.code))]
OF_POSTGRES = [block for block in SHELL if "pg_" in block.code or SHOWN_DATABASE in block.code]
# These need clients that are not here: `make clients-full` runs them (tests/clients/documented.py).
OF_CLIENTS = {
    f"docs/en/{client.page}"
    for client in CLIENTS
    if client.name not in ("openai", "openai-1.40", "openai-node")
}
PYTHON = [block for block in blocks("python") if "OpenAI(" in block.code and block.page not in OF_CLIENTS]
JAVASCRIPT = [block for block in blocks("js") if block.page not in OF_CLIENTS]


def shown(blocks: list[Block]) -> pytest.MarkDecorator:
    names = [f"{block.page}-{n}" for n, block in enumerate(blocks)]
    return pytest.mark.parametrize("block", blocks, ids=names)


@dataclass(frozen=True)
class Machine:
    """A server with an admin listener; `store` is the folder that pages call /var/lib/tessera."""

    server: Server
    admin_url: str
    environment: dict[str, str]

    def of_here(self, text: str, root: Path) -> str:
        """The text with this machine's addresses and folders instead of the printed ones."""
        places = {folder: f"{root}{folder}" for folder in FOLDERS}
        addresses = {
            "http://127.0.0.1:8000": self.server.url,
            "http://127.0.0.1:9464": self.admin_url,
            "https://chat.example.com": self.server.url,
        }
        for printed, here in (places | addresses).items():
            text = text.replace(printed, here)
        return text


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    root = tmp_path_factory.mktemp("machine")
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    environment = {
        **kept,
        "PATH": f"{TESSERA.parent}:{kept['PATH']}",
        "TESSERA_CACHE_DIR": str(root / "cache"),
        "TESSERA_DATABASE_URL": f"sqlite:///{root}/tessera.db",
        "TESSERA_ADMIN_KEY": ADMIN_KEY,
    }
    with launching(environment, TESSERA) as start:
        server = announced(starting(start, "--scripted-tokens-per-s", 0, "--admin-port", port))
        for name in ("acme", "somebody"):
            run_all(f"tessera accounts create {name} --tier pro", environment, root)
        yield Machine(server, f"http://127.0.0.1:{port}", {**environment, "TESSERA_API_KEY": server.key})


def run_all(script: str, environment: dict[str, str], folder: Path) -> str:
    return run(["sh", "-e", "-c", script], environment, folder)


def run(command: list[str], environment: dict[str, str], folder: Path) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd=folder
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_pages_have_blocks_of_each_language_and_none_is_left_out_in_vain() -> None:
    assert len(PAGES) > 60
    assert len(SHELL) > 25
    assert len(PYTHON) > 8
    assert len(JAVASCRIPT) > 8
    every = [each for block in blocks("sh") for each in statements(block.code)]
    unused = [name for name in NOT_RUN if not any(each.startswith(name) for each in every)]
    assert unused == []
    elsewhere = {block.page for block in blocks("python") if block not in PYTHON} - OF_CLIENTS
    assert elsewhere == {"README.md", "docs/en/install.md"}  # parts of a program; a server: see below


def test_blocks_that_are_shown_as_tabs_are_in_all_languages() -> None:
    groups = {
        frozenset(re.findall(r"^```(\w+)$", group, re.MULTILINE))
        for page in PAGES
        for group in re.findall(
            r"(?:^```(?:sh|python|js)\n(?:.*?\n)?```\n\n)+", page.read_text(), re.MULTILINE | re.DOTALL
        )
    }
    assert {group for group in groups if len(group) > 1} == {frozenset(TABS)}


@pytest.mark.slow
@shown(PYTHON)
def test_python_prints_something(block: Block, machine: Machine, tmp_path: Path) -> None:
    program = machine.of_here(block.code, tmp_path)
    assert run([sys.executable, "-c", program], machine.environment, tmp_path).strip()


@pytest.mark.slow
@shown([block for block in SHELL if block not in OF_POSTGRES])
def test_shell_succeeds(block: Block, machine: Machine, tmp_path: Path) -> None:
    environment = machine.environment
    script = [each for each in statements(block.code) if left_out(each) is None]
    programs = {each.split()[0] for each in script} - {"export", "set"}
    if missing := [each for each in programs if shutil.which(each, path=environment["PATH"]) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    for folder in FOLDERS:
        (tmp_path / folder.strip("/")).mkdir(parents=True)
    if not any("127.0.0.1" in each for each in script):
        environment = own_store(environment, block, tmp_path)
    text = machine.of_here("\n".join(script), tmp_path)
    if SHOWN_KEY in text:
        text = text.replace(SHOWN_KEY, a_key(environment, tmp_path))
    reply = run_all(text, environment, tmp_path)
    assert ('"error"' in reply) == block.page.endswith("/errors.md"), reply


def own_store(environment: dict[str, str], block: Block, root: Path) -> dict[str, str]:
    """A store where pages have it, with a backup, and with the account acme unless the block creates it."""
    store, backups = root / "var/lib/tessera", root / "var/backups/tessera"
    mine = {**environment, "TESSERA_DATABASE_URL": f"sqlite:///{store}/tessera.db"}
    run_all("tessera accounts create somebody --tier lite", mine, root)
    if "accounts create acme" not in block.code:
        run_all("tessera accounts create acme --tier lite; tessera keys create acme --name old", mine, root)
    else:
        run_all("tessera keys create somebody --name old", mine, root)
    for file in store.glob("tessera.db*"):
        if file.is_file():
            shutil.copy2(file, backups)
    return mine


def a_key(environment: dict[str, str], folder: Path) -> str:
    """The id of a new key."""
    shown = run_all("tessera keys create somebody --name k --json", environment, folder)
    return json.loads(shown)["id"]


@pytest.mark.slow
def test_shell_of_postgresql_succeeds(machine: Machine, postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.create("documented")
    environment = {
        **machine.environment,
        "PATH": f"{postgres.programs}:{machine.environment['PATH']}",  # pg_dump of the server's version
        "TESSERA_DATABASE_URL": url,
        "TESSERA_PEPPER": "p" * 40,
    }
    run_all("tessera accounts create kept --tier lite", environment, tmp_path)
    (tmp_path / "var/backups/tessera").mkdir(parents=True)
    assert OF_POSTGRES
    for block in OF_POSTGRES:
        script = "\n".join(each for each in statements(block.code) if left_out(each) is None)
        script = machine.of_here(script.replace(SHOWN_DATABASE, url), tmp_path)
        run_all(script, environment, tmp_path)
    assert "kept" in run_all("tessera accounts list", environment, tmp_path)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node finds the client library."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(NODE / "package.json", folder)
    install = ["npm", "install", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-package-lock"]
    try:
        done = subprocess.run(install, cwd=folder, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the client within 120 s")
    if done.returncode:
        pytest.skip("npm could not install the client")
    return folder


@pytest.mark.slow
@shown(JAVASCRIPT)
def test_node_prints_something(block: Block, machine: Machine, node: Path) -> None:
    program = node / "example.mjs"
    program.write_text(machine.of_here(block.code, node))
    assert run(["node", str(program)], machine.environment, node).strip()


@pytest.mark.slow
def test_an_application_of_ones_own_answers(machine: Machine, tmp_path: Path) -> None:
    (block,) = [block for block in blocks("python") if "create_app" in block.code]
    port = free_port()
    with launching(machine.environment, sys.executable, "-c") as start:
        start(
            block.code.replace("port=8000", f"port={port}"), TESSERA_DATABASE_URL=f"sqlite:///{tmp_path}/s.db"
        )
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/readyz"))


def answers(url: str) -> bool:
    try:
        return httpx2.get(url, trust_env=False, timeout=10).status_code == 200
    except httpx2.TransportError:
        return False
