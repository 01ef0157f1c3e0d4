"""A request's way stays short: how many files and functions a streaming request with a tool call passes.

It is counted from the HTTP application to the last event, with the scripted engine. It is a measure, not an
aim: no two ideas share a file for its sake.
"""

import asyncio
import json

import pytest

from tessera.cli.walk import CallTrace, walk
from tessera.settings import Settings

# A little more than was measured last (54, 287, 32; a busy machine adds one or two): lower it with the way.
#
# The files before the prompt is compiled are: the layers of HTTP (4), the key (3), the request's record and
# metrics (2), its body (3), JSON to a `ChatRequest` (5), the model and its length check (3), the account's
# limits (3), the deadline and the queue (2), the ledger (3), and the start of the answer (4). They come first
# on purpose: a request that its limits refuse must not cost the work of its grammar and its tokens.
MOST = {"files": 56, "functions": 295, "files before the prompt": 33}

WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
REQUEST = {
    "stream": True,
    "messages": [{"role": "user", "content": "What is the weather in Lima?"}],
    "tools": [{"type": "function", "function": {"name": "weather", "parameters": WEATHER, "strict": True}}],
    "tool_choice": "required",
}


@pytest.fixture(scope="module")
def walked() -> tuple[CallTrace, bytes]:
    settings = Settings(engine="scripted", scripted_tokens_per_s=0)
    return asyncio.run(walk(settings, json.dumps(REQUEST).encode()))


def test_the_request_is_answered_with_a_call(walked: tuple[CallTrace, bytes]) -> None:
    _, answer = walked
    assert b'"name":"weather"' in answer
    assert answer.endswith(b"data: [DONE]\n\n")


def test_a_request_passes_few_files(walked: tuple[CallTrace, bytes]) -> None:
    files = walked[0].files()
    assert {"http/chat.py", "pipeline.py", "parsing/reader.py", "wire/stream.py"} <= set(files)
    assert len(files) <= MOST["files"], files


def test_a_request_passes_few_functions(walked: tuple[CallTrace, bytes]) -> None:
    functions = [call.function for call in walked[0].first_calls()]
    assert len(functions) <= MOST["functions"], functions


def test_little_happens_before_the_prompt_is_compiled(walked: tuple[CallTrace, bytes]) -> None:
    files = walked[0].files_before("prompt/compile.py:compile_prompt")
    assert "http/chat.py" in files
    assert len(files) <= MOST["files before the prompt"], files
