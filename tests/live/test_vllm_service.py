"""`tessera serve --engine vllm` with the embedded model's weights, as an operator starts it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.hosted import vllm_python, vllm_variables
from tests.serving import Server, Start, announced, ask, command, environment, start
from tests.waiting import wait_for

from tessera.engine.host.frames import Start as Frame

__all__ = ["environment", "start"]

pytestmark = [pytest.mark.live, pytest.mark.vllm]

KEY = "sk-tessera-" + "m" * 40
SCHEMA = {
    "type": "object",
    "properties": {"capital": {"enum": ["Berlin", "Madrid"]}},
    "required": ["capital"],
    "additionalProperties": False,
}
QUESTION = [{"role": "user", "content": "What is the capital of Germany?"}]
STORY = {
    "messages": [{"role": "user", "content": "Tell me a long story."}],
    "max_tokens": 400,
    "stream": True,
}
LOADS_S, REPLIES_S = 900.0, 900.0


@pytest.fixture
def server(start: Start, vllm_embedded_start: Frame) -> Server:
    """`vllm_embedded_start` skips where there is no vLLM, and writes the model."""
    options = {
        "--engine": "vllm",
        "--engine-python": vllm_python(),
        "--model": vllm_embedded_start.options["folder"],
        "--context-tokens": 1024,
        "--max-sequences": 4,
        "--precision": "f32",  # few processors compute in the 16 bits of these weights
        "--threads": 1,
        "--port": 0,
    }
    arguments = [each for pair in options.items() for each in pair]
    process = start("serve", "--offline", *arguments, TESSERA_API_KEY=KEY, **vllm_variables())
    return announced(process, KEY)


def engine_core(server: Server) -> int:
    """The process in which vLLM computes, somewhere below the server's."""
    [found] = [id for id in below(server.process.pid) if "EngineCore" in command(id)]
    return found


def below(parent: int) -> Iterator[int]:
    """All processes that a process has started, and those that these have started."""
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        for id in map(int, path.read_text().split()):
            yield id
            yield from below(id)


def test_it_answers_follows_schemas_and_outlives_vllm(server: Server) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    tool = {"type": "function", "function": {"name": "find", "parameters": SCHEMA}}
    with server.client() as client:

        def say(**fields: object) -> dict[str, object]:
            body = ask(messages=QUESTION, temperature=0, **{"max_tokens": 60, **fields})
            reply = client.post("/v1/chat/completions", json=body, timeout=REPLIES_S)
            assert reply.status_code == 200, reply.text
            return reply.json()["choices"][0]["message"]

        assert "Berlin" in str(say()["content"])
        assert say(response_format=form)["content"] in ('{"capital": "Berlin"}', '{"capital": "Madrid"}')
        assert say(tools=[tool], tool_choice="required", parallel_tool_calls=False)["tool_calls"]
        assert "engine_unavailable" in killed_in_the_middle(server, client)
        # A request that has not begun waits for the engine; without a place in the queue it would be refused.
        wait_for(lambda: client.get("/readyz").status_code == 200, LOADS_S)
        assert "Berlin" in str(say()["content"])
    code, log = server.stop()
    assert code == 0
    assert "EngineCore has died" in log


def killed_in_the_middle(server: Server, client: httpx2.Client) -> str:
    """The rest of a stream whose EngineCore is killed after the stream has begun."""
    with client.stream("POST", "/v1/chat/completions", json=STORY, timeout=REPLIES_S) as stream:
        lines = stream.iter_lines()
        while '"content":"' not in next(lines):
            pass
        os.kill(engine_core(server), signal.SIGKILL)
        return "\n".join(lines)
