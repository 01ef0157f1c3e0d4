"""The README's examples work as printed, against the server that `make serve` starts."""

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
TESSERA = Path(sys.executable).with_name("tessera")
ANNOUNCED_KEY = re.compile(r"export TESSERA_API_KEY=([\w-]+)")


BETWEEN = "=" * 40


def blocks(language: str) -> list[str]:
    """The README's code blocks of that language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def served() -> Generator[tuple[int, dict[str, str]]]:
    """A running server's port, and an environment with its key, as a reader of the README has them."""
    port = free_port()
    command = [TESSERA, "serve", "--host", "127.0.0.1", "--port", str(port)]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=plain) as server:
        assert server.stdout is not None
        try:
            keys = (ANNOUNCED_KEY.search(line) for line in server.stdout)
            key = next((found.group(1) for found in keys if found), None)
            assert key, f"the server ended before it listened, with code {server.wait()}"
            yield port, {**plain, "TESSERA_API_KEY": key}
        finally:
            server.terminate()


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_curl_example_answers(served: tuple[int, dict[str, str]]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    port, environment = served
    command = next(code for code in blocks("sh") if code.startswith("curl "))
    answer = json.loads(run(["sh", "-c", command.replace("8000", str(port))], environment))
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] <= 40


@pytest.fixture(scope="module")
def printed(served: tuple[int, dict[str, str]]) -> list[str]:
    """The output of each of the Python examples, which together are one program."""
    port, environment = served
    program = f"\nprint('{BETWEEN}')\n".join(blocks("python")).replace("8000", str(port))
    return run([sys.executable, "-c", program], environment).split(BETWEEN)


def test_the_stream_is_printed(printed: list[str]) -> None:
    assert len(printed[0].split()) > 3


def test_the_call_has_the_function_and_its_argument(printed: list[str]) -> None:
    name, _, arguments = printed[1].strip().partition(" ")
    assert name == "get_weather"
    assert list(ast.literal_eval(arguments)) == ["city"]


def test_the_answer_has_the_form_that_was_asked_for(printed: list[str]) -> None:
    assert re.fullmatch(r"name=(['\"]).{0,40}\1 country=(['\"]).{0,40}\2", printed[2].strip())


def test_reasoning_and_answer_are_apart(printed: list[str]) -> None:
    assert re.fullmatch("Reasoning: .+\nAnswer: .+", printed[3].strip(), re.S)
