"""The examples that are shown as tabs run as they are printed, in each of their languages."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serving import Server, environment, service, start

from tessera.http.web.markup import TABS

DOCS = Path(__file__).parents[2] / "docs/en"  # the blocks of both languages are the same: see test_parity
FENCE = re.compile(r"^```(sh|python|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NODE = Path(__file__).parents[1] / "conformance/clients"
__all__ = ["environment", "service", "start"]


def examples(language: str) -> Iterator[tuple[str, str]]:
    """Page and code of each example that asks the server."""
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text()
        if "\n```\n\n```python\n" not in text:
            continue
        for found, code in FENCE.findall(text):
            if found == language and "8000/v1" in code:
                yield path.relative_to(DOCS).as_posix(), code


def test_every_page_with_tabs_has_all_of_them() -> None:
    pages = [{page for page, _ in examples(language)} for language in TABS]
    assert pages[0] == pages[1] == pages[2] != set()


def run(command: list[str], server: Server, folder: Path) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, "TESSERA_API_KEY": server.key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_python_examples_print_a_reply(service: Callable[..., Server], tmp_path: Path) -> None:
    server = service("--scripted-tokens-per-s", "0")
    for page, code in examples("python"):
        program = code.replace("http://127.0.0.1:8000", server.url)
        assert run([sys.executable, "-c", program], server, tmp_path).strip(), page


@pytest.mark.slow
def test_curl_examples_print_a_reply(service: Callable[..., Server], tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    server = service("--scripted-tokens-per-s", "0")
    for page, code in examples("sh"):
        reply = run(["sh", "-c", code.replace("http://127.0.0.1:8000", server.url)], server, tmp_path)
        assert '"choices"' in reply, (page, reply)
        assert '"error"' not in reply, (page, reply)


@pytest.mark.slow
def test_node_examples_print_a_reply(service: Callable[..., Server], tmp_path: Path) -> None:
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    shutil.copy(NODE / "package.json", tmp_path)
    install = ["npm", "install", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-package-lock"]
    try:
        done = subprocess.run(install, cwd=tmp_path, capture_output=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the client within 120 s")
    if done.returncode:
        pytest.skip("npm could not install the client")
    server = service("--scripted-tokens-per-s", "0")
    for page, code in examples("js"):
        program = tmp_path / "example.mjs"
        program.write_text(code.replace("http://127.0.0.1:8000", server.url))
        assert run(["node", str(program)], server, tmp_path).strip(), page
