"""`tessera serve` from start to end, on the scripted engine, and the commands that go with it."""

import json
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from tests.serving import Server, Start, ask

KEY = "sk-tessera-" + "c" * 40
Run = Callable[..., tuple[int, str, str]]


def test_a_key_is_made_and_printed_as_a_line_for_the_shell(service: Callable[..., Server]) -> None:
    server = service()
    shell = f"{server.announced[-1]}; printf %s $TESSERA_API_KEY"
    pasted = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    assert pasted == server.key
    assert len(server.key) == len(KEY)
    with server.client() as client:
        assert client.post("/v1/chat/completions", json=ask()).status_code == 200
        assert client.get("/v1/models", headers={"Authorization": f"Bearer {KEY}"}).status_code == 401
    code, log = server.stop()
    assert code == 0
    assert server.key not in log


def test_a_key_of_the_environment_is_the_key_and_is_not_printed(service: Callable[..., Server]) -> None:
    server = service(TESSERA_API_KEY=KEY)
    with server.client() as client:
        assert client.get("/v1/models").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    output, log = server.process.communicate(timeout=300)
    assert KEY not in output + log + "".join(server.announced)


def test_the_reply_names_what_answered_under_any_name(service: Callable[..., Server]) -> None:
    server = service("--model-name", "own/name", "--aliases", "Qwen/Qwen3.6-35B-A3B,other")
    assert server.announced[0] == "Serving own/name, which also answers to Qwen/Qwen3.6-35B-A3B, other."
    with server.client() as client:
        for name in ("own/name", "Qwen/Qwen3.6-35B-A3B", "other"):
            assert client.post("/v1/chat/completions", json=ask(model=name)).json()["model"] == "own/name"
        assert client.post("/v1/chat/completions", json=ask(model="no/such")).status_code == 404
    line = json.loads(server.stop()[1].splitlines()[0])
    assert (line["event"], line["model"]) == ("serving", "own/name")
    assert line["aliases"] == "Qwen/Qwen3.6-35B-A3B, other"


@pytest.mark.full
def test_a_connection_that_was_idle_for_longer_than_clients_keep_theirs_is_answered(
    service: Callable[..., Server],
) -> None:
    server = service()
    with closing(HTTPConnection(server.url.removeprefix("http://"))) as connection:
        for idle_s in (0, 6):
            time.sleep(idle_s)
            connection.request("GET", "/v1/models", headers=server.headers)
            response = connection.getresponse()  # raises if the server has closed it
            assert (response.status, bool(response.read())) == (200, True)


def test_limits_come_from_the_settings(service: Callable[..., Server]) -> None:
    server = service(TESSERA_MAX_BODY_BYTES="1KiB")
    with server.client() as client:
        assert client.post("/v1/chat/completions", json=ask(user="x" * 2000)).status_code == 413


def test_a_port_in_use_is_named_with_its_flag(tessera: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for flag in ("--port", "--admin-port"):
            code, _, said = tessera("serve", "--engine", "scripted", "--port", 0, flag, port)
            assert code == 2
            assert f"Cannot listen on 127.0.0.1:{port}" in said
            assert f"{flag}." in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_model_is_fetched_is_no_error(start: Start, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hub = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = start("serve", "--port", 0, "--model", "some/model", HF_ENDPOINT=hub, HF_HUB_OFFLINE="0")
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            process.send_signal(number)
            assert process.wait(300) == 0


def test_chat_streams_a_reply_and_keeps_a_conversation(service: Callable[..., Server], tessera: Run) -> None:
    server = service("--scripted-tokens-per-s", "1000")
    reach = {"TESSERA_URL": server.url, "TESSERA_API_KEY": server.key}
    assert tessera("chat", "--max-tokens", 3, "Hello", **reach)[:2] == (0, "the little lamp \n")
    code, output, _ = tessera("chat", "--max-tokens", 2, stdin="Hi\n\n/help\n/new\nHi\n/exit\n", **reach)
    assert (code, output.count("the little ")) == (0, 2)


def test_chat_says_what_the_server_says(service: Callable[..., Server], tessera: Run) -> None:
    server = service()
    code, _, said = tessera("chat", "Hello", TESSERA_URL=server.url)
    assert (code, "401: No API key was sent" in said) == (1, True)
    code, _, said = tessera("chat", "Hello", TESSERA_URL="http://127.0.0.1:9")
    assert (code, "No server answers at http://127.0.0.1:9" in said) == (1, True)


def test_ctrl_c_stops_a_reply_and_not_the_conversation(service: Callable[..., Server], start: Start) -> None:
    server = service("--scripted-tokens-per-s", "20")
    chat = start("chat", TESSERA_URL=server.url, TESSERA_API_KEY=server.key, PYTHONUNBUFFERED="1")
    assert chat.stdin is not None
    assert chat.stdout is not None
    chat.stdin.write("Hello\n")
    chat.stdin.flush()
    read = ""
    while "lamp" not in read:
        read += chat.stdout.read(1)
    chat.send_signal(signal.SIGINT)
    output, _ = chat.communicate("/exit\n", timeout=300)
    assert chat.returncode == 0
    assert "[stopped]" in output


def test_inspect_shows_the_prompt_and_the_events(tessera: Run, tmp_path: Path) -> None:
    request, output = tmp_path / "request.json", tmp_path / "output.txt"
    request.write_text(json.dumps(ask(temperature=0)))
    output.write_text("Hi!<|im_end|>")
    code, shown, said = tessera("inspect", "--engine", "scripted", request, "--output", output, "--run")
    assert code == 0, said
    for line in (
        "Control(token='<|im_start|>')",
        "'<|im_end|>'",
        "temperature = 0",
        "Finished(choice=0, reason=<FinishReason.STOP: 'stop'>)",
        "Finished(choice=0, reason=<FinishReason.LENGTH: 'length'>)",
    ):
        assert line in shown
    assert shown.count("Completed(usage=") == 2
    assert tessera("inspect", "--engine", "scripted", "-", stdin=request.read_text())[0] == 0


def test_inspect_traces_the_functions_of_a_request(tessera: Run, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(json.dumps(ask(stream=True, max_tokens=3)))
    code, shown, said = tessera("inspect", "--engine", "scripted", request, "--trace")
    assert code == 0, said
    functions = re.findall(r"^ *[0-9.]+ ms +(\S+)$", shown, re.MULTILINE)
    way = ["http/chat.py:ChatCompletions.__call__", "wire/decode.py:decode_request", "pipeline.py:run"]
    assert [name for name in functions if name in way] == way
    assert f"\n{len(functions)} functions in " in shown
    assert shown.endswith("data: [DONE]\n\n\n")


def test_inspect_names_what_is_wrong_with_a_request(tessera: Run, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text('{"messages": []}')
    code, _, said = tessera("inspect", "--engine", "scripted", tmp_path / "request.json")
    assert code == 1
    assert "messages" in said
    assert "Traceback" not in said


def test_the_scripted_engine_answers_tools_and_schemas_at_once(service: Callable[..., Server]) -> None:
    server = service("--scripted-tokens-per-s", "0", "--workers", "2")
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string", "minLength": 1}, "unit": {"enum": ["celsius", "F"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    }
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters, "strict": True}}]
    schema = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": parameters}}
    thinking = {"chat_template_kwargs": {"enable_thinking": True}, "thinking_token_budget": 100}

    def message(**fields: object) -> dict[str, Any]:
        reply = client.post("/v1/chat/completions", json=ask(**{"max_tokens": 2000, **fields}))
        assert reply.status_code == 200, reply.text
        return reply.json()["choices"][0]["message"]

    with server.client() as client:
        features = client.get("/v1/models").json()["data"][0]["features"]
        assert features == ["logprobs", "n", "structured_output", "thinking_budget", "tools"]
        (call,) = message(tools=tools, tool_choice="required")["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"city": "a", "unit": "F"}
        assert message(tools=tools)["content"].startswith("the little lamp")
        said = message(response_format=schema, **thinking)
        assert json.loads(said["content"]) == {"city": "a", "unit": "F"}
        assert said["reasoning_content"].startswith("the little lamp")
        assert message()["content"].count("lamp") > 50
        impossible = {**parameters, "properties": {"city": {"type": "string", "pattern": "^(?=a)b$"}}}
        schema["json_schema"] = {"name": "x", "strict": True, "schema": impossible}
        assert client.post("/v1/chat/completions", json=ask(response_format=schema)).status_code == 400
    assert server.stop()[0] == 0
