"""The official client for Node, installed with the machine's own npm."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Served
from tests.scripts import answering, called

from tessera.engine.scripted.engine import Script, saying

HERE = Path(__file__).parent
INSTALL = [
    "npm",
    "install",
    "--prefer-offline",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-package-lock",
]
LEON = '{"city": "León", "days": 3}'
REPORT = '{"sky": "sun", "place": {"city": "León", "days": 3}}'
CALL = called("weather", city="León", days=3)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A Node process that waits for scenarios; the packages that they import are installed first."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "scenarios.mjs"):
        shutil.copy(HERE / name, folder)
    try:
        done = subprocess.run(INSTALL, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("npm did not install the client within 120 s")
    if done.returncode:
        pytest.skip(f"npm could not install the client: {done.stderr.strip()[-200:]}")
    with subprocess.Popen(
        ["node", "scenarios.mjs"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def play(node: subprocess.Popen[str], served: Served) -> Callable[..., Any]:
    """Plays a scenario against a scripted engine; returns its result."""

    def run(scenario: str, script: Script | None = None) -> Any:
        served.engine.script = script or served.engine.script
        line = {"scenario": scenario, "baseURL": f"{served.url}/v1", "apiKey": served.key}
        assert node.stdin is not None
        assert node.stdout is not None
        print(json.dumps(line), file=node.stdin, flush=True)
        return json.loads(node.stdout.readline())

    return run


def test_a_whole_reply(served: Served, play: Any) -> None:
    reply = play("whole", saying(served.tokenizer, "¡Sol! 👋"))
    assert [choice["message"]["content"] for choice in reply["choices"]] == ["¡Sol! 👋"] * 2
    assert [choice["finish_reason"] for choice in reply["choices"]] == ["stop", "stop"]
    spelled = [byte for score in reply["choices"][0]["logprobs"]["content"] for byte in score["bytes"]]
    assert bytes(spelled).decode() == "¡Sol! 👋"
    assert (
        reply["usage"]["total_tokens"]
        == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]
    )


def test_a_streamed_reply(served: Served, play: Any) -> None:
    *chunks, last = play("streamed", saying(served.tokenizer, "¡Sol! 👋"))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "¡Sol! 👋"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len("¡Sol! 👋".encode()) + 1


def test_leaving_a_stream_ends_the_generation(served: Served, play: Any) -> None:
    assert play("abandoned")["choices"][0]["delta"]["role"] == "assistant"
    served.wait_until_idle()


def test_calls(served: Served, play: Any) -> None:
    choice = play("calls", saying(served.tokenizer, CALL))
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": LEON}


def test_streamed_calls(served: Served, play: Any) -> None:
    heard = play("streamedCalls", saying(served.tokenizer, f"I look.\n{CALL}\n{CALL}"))
    assert heard["choice"]["message"]["content"] == "I look."
    assert [call["function"]["arguments"] for call in heard["choice"]["message"]["tool_calls"]] == [
        LEON,
        LEON,
    ]
    assert [call["parsed_arguments"] for call in heard["done"]] == [json.loads(LEON)] * 2


@pytest.mark.parametrize("scenario", ["toolLoop", "streamedToolLoop"])
def test_a_tool_loop(served: Served, play: Any, scenario: str) -> None:
    loop = play(scenario, answering(served.tokenizer, CALL, CALL, "Sun."))
    assert loop["content"] == "Sun."
    assert loop["wanted"] == [json.loads(LEON)] * 2
    roles = [message["role"] for message in loop["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]


@pytest.mark.parametrize("scenario", ["parsed", "streamedParsed"])
def test_a_schema(served: Served, play: Any, scenario: str) -> None:
    assert play(scenario, saying(served.tokenizer, REPORT)) == json.loads(REPORT)


def test_an_error_is_the_clients_class(play: Any) -> None:
    error = play("refused")
    assert (error["name"], error["status"], error["param"]) == ("BadRequestError", 400, "temperature")
    assert error["type"] == "invalid_request_error"
    assert error["requestID"].startswith("req_")


def test_models(play: Any) -> None:
    assert {model["id"] for model in play("models")} == {"tessera/scripted", "alias"}
