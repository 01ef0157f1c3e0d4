"""`tessera serve --engine llamacpp` with the embedded model, as an operator starts it."""

import pytest
from tests.serving import Start, announced, ask, environment, start

from tessera.engine.host.frames import Start as Frame
from tessera.models.cache import default_root

__all__ = ["environment", "start"]

pytestmark = pytest.mark.live

KEY = "sk-tessera-" + "l" * 40
SCHEMA = {
    "type": "object",
    "properties": {"capital": {"enum": ["Berlin", "Madrid"]}},
    "required": ["capital"],
    "additionalProperties": False,
}


def test_it_answers_calls_and_follows_schemas(start: Start, llama_start: Frame) -> None:
    """`llama_start` skips without a library, and makes the model."""
    options = (
        "--engine",
        "llamacpp",
        "--port",
        0,
        "--offline",
        "--kv-cache-bytes",
        "64MiB",
        "--max-sequences",
        4,
    )
    process = start("serve", *options, TESSERA_API_KEY=KEY, TESSERA_CACHE_DIR=str(default_root()))
    server = announced(process, KEY)
    question = [{"role": "user", "content": "What is the capital of Germany?"}]
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    tool = {"type": "function", "function": {"name": "find", "parameters": SCHEMA}}
    with server.client() as client:

        def say(**fields: object) -> dict[str, object]:
            body = ask(messages=question, temperature=0, **{"max_tokens": 60, **fields})
            reply = client.post("/v1/chat/completions", json=body)
            assert reply.status_code == 200, reply.text
            return reply.json()["choices"][0]["message"]

        assert "Berlin" in str(say()["content"])
        assert say(response_format=form)["content"] in ('{"capital": "Berlin"}', '{"capital": "Madrid"}')
        assert say(tools=[tool], tool_choice="required", parallel_tool_calls=False)["tool_calls"]
    code, log = server.stop()
    assert code == 0
    assert "of 30 layers on GPUs" in log
