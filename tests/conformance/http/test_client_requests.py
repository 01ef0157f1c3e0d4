"""Requests as real clients send them: OpenAI's libraries, frameworks, agents, editors and chat front ends.

Each is answered, and what has no effect on the answer is listed.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from tests.conftest import Served
from tests.scripts import CAN_ALL, called

from tessera.engine.scripted.engine import saying
from tessera.formats.base import ChatFormat
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3

Body = dict[str, Any]

USER: Body = {"role": "user", "content": "Hi"}
LOOK: Body = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {}}},
}


def call(arguments: Any = "{}", **more: Any) -> Body:
    return {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": arguments}, **more}


def loop(*calls: Body, content: Any = "42") -> list[Body]:
    """A conversation with calls and their results."""
    turn = {"role": "assistant", "content": None, "tool_calls": [*calls]}
    results = [{"role": "tool", "tool_call_id": "call_1", "content": content} for _ in calls]
    return [USER, turn, *results]


@dataclass(frozen=True)
class Case:
    """A body, without messages where they do not matter. `ignored` is what the response lists as ignored."""

    id: str
    body: Body
    ignored: tuple[str, ...] = field(default=())


NULLS: Body = dict.fromkeys(
    (
        *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_tokens"),
        *(
            "max_completion_tokens",
            "metadata",
            "modalities",
            "n",
            "parallel_tool_calls",
            "prediction",
            "seed",
        ),
        *("presence_penalty", "response_format", "service_tier", "stop", "store", "stream_options", "tools"),
        *("temperature", "tool_choice", "top_logprobs", "top_p", "user", "web_search_options", "model"),
        *("chat_template_kwargs", "enable_thinking", "thinking_budget", "thinking_token_budget", "top_k"),
    )
)

CASES = [
    # OpenAI's libraries
    Case("python: every field null", NULLS),
    Case(
        "python: a message of a reply, dumped whole",
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": "a",
                    "refusal": None,
                    "annotations": [],
                    "audio": None,
                    "function_call": None,
                    "tool_calls": None,
                    "reasoning_content": "r",
                    "reasoning": "r",
                },
                USER,
            ]
        },
    ),
    Case("node: runTools appends parsed calls", {"messages": loop(call(parsed_arguments=None, index=0))}),
    Case(
        "node: a message with `parsed`",
        {"messages": [USER, {"role": "assistant", "content": "{}", "parsed": {}, "refusal": None}, USER]},
    ),
    Case(
        "go: an assistant without content",
        {
            "messages": [
                USER,
                {"role": "assistant", "tool_calls": [call()]},
                {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "42"}]},
            ]
        },
    ),
    Case("java: numbers with a point", {"max_tokens": 16.0, "n": 1.0, "seed": 7.0, "top_logprobs": 0.0}),
    Case("dotnet: empty collections", {"tools": [], "stop": [], "logit_bias": {}, "metadata": {}}),
    Case(
        "responses: tools and choice without the inner object",
        {
            "tools": [{"type": "function", "name": "look", "parameters": {}, "strict": None}],
            "tool_choice": {"type": "function", "name": "look"},
        },
    ),
    # LangChain, LiteLLM, Vercel AI SDK and others of the kind
    Case("langchain: n and a stop that is empty", {"n": 1, "stop": [], "temperature": 0.7, "stream": False}),
    Case("langchain: any tool", {"tools": [LOOK], "tool_choice": "any", "parallel_tool_calls": False}),
    Case("langchain: a name instead of a choice", {"tools": [LOOK], "tool_choice": "look"}),
    Case("langchain: content of strings", {"messages": [{"role": "user", "content": ["a", "b"]}]}),
    Case(
        "litellm: parts with cache_control",
        {
            "messages": [
                {
                    "role": "system",
                    "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Hi", "cache_control": None}],
                    "name": "ann",
                },
            ]
        },
    ),
    Case(
        "litellm: thinking blocks in the history",
        {
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "r", "signature": "s"},
                        {"type": "text", "text": "a"},
                    ],
                    "thinking_blocks": [{"type": "thinking"}],
                    "provider_specific_fields": None,
                },
                USER,
            ]
        },
    ),
    Case(
        "litellm: extra_headers in the body",
        {"extra_headers": {"a": "b"}, "drop_params": True},
        ("extra_headers", "drop_params"),
    ),
    Case("vercel: usage of a stream", {"stream": True, "stream_options": {"include_usage": True}}),
    Case(
        "vercel: an empty text beside calls",
        {
            "messages": [
                USER,
                {"role": "assistant", "content": "", "tool_calls": [call('{"a":1}')]},
                {"role": "tool", "tool_call_id": "call_1", "content": "42"},
            ]
        },
    ),
    Case(
        "vercel: a schema with a foreign name",
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {
                    "name": "response",
                    "description": None,
                    "strict": False,
                    "schema": {
                        "$schema": "http://json-schema.org/draft-07/schema#",
                        "type": "object",
                        "properties": {},
                    },
                },
            }
        },
    ),
    Case(
        "openrouter: reasoning and routes",
        {
            "reasoning": {"effort": "high"},
            "provider": {"order": []},
            "transforms": [],
            "usage": {"include": True},
            "messages": [
                USER,
                {
                    "role": "assistant",
                    "content": "a",
                    "reasoning": "r",
                    "reasoning_details": [{"type": "reasoning.text", "text": "r"}],
                },
                USER,
            ],
        },
        ("reasoning", "provider", "transforms", "usage"),
    ),
    Case("haystack, llama-index: null contents of tools", {"messages": loop(call(""), content=None)}),
    Case(
        "smolagents: roles and stops",
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "s"}]},
                {"role": "user", "content": [{"type": "text", "text": "u"}]},
            ],
            "stop": ["Observation:", "Calling tools:"],
        },
    ),
    Case(
        "instructor: JSON mode with a schema in the prompt",
        {"response_format": {"type": "json_object"}, "stop": "x"},
        ("stop",),
    ),
    # Agents and editors
    Case(
        "qwen-code: DashScope's fields",
        {
            "enable_thinking": False,
            "thinking_budget": 100,
            "metadata": {"sessionId": "s", "promptId": "p"},
            "vl_high_resolution_images": True,
            "tools": [LOOK],
            "messages": loop(call("{}", index=0)),
        },
        ("vl_high_resolution_images",),
    ),
    Case(
        "qwen: template switches that other servers have",
        {"chat_template_kwargs": {"enable_thinking": False, "clear_thinking": True, "thinking": False}},
        ("chat_template_kwargs.clear_thinking", "chat_template_kwargs.thinking"),
    ),
    Case(
        "opencode: no temperature, tools, auto",
        {
            "stream": True,
            "stream_options": {"include_usage": True},
            "tools": [LOOK],
            "tool_choice": "auto",
            "max_tokens": 32,
        },
    ),
    Case(
        "opencode: a choice without tools after a compaction",
        {
            "messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "in short"}],
            "tools": [],
            "tool_choice": "none",
        },
    ),
    Case(
        "cline: parts of text",
        {
            "stream": True,
            "messages": [
                {"role": "system", "content": "s"},
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]},
            ],
        },
    ),
    Case("aider: a trailing assistant", {"messages": [USER, {"role": "assistant", "content": "```py\n"}]}),
    Case("aider: only the system", {"messages": [{"role": "system", "content": "Answer."}]}),
    Case(
        "continue: completion options",
        {"max_tokens": 2048, "stream": True, "stop": ["", "\n\n\n\n"], "top_p": 0, "raw": False},
        ("raw",),
    ),
    Case(
        "cursor: strange but harmless",
        {
            "stream_options": {"include_usage": True, "include_obfuscation": False},
            "stream": True,
            "reasoning_effort": "medium",
            "verbosity": "low",
            "store": False,
            "user": "u",
        },
    ),
    Case(
        "zed: parallel calls without tools", {"parallel_tool_calls": False, "tools": [], "prediction": None}
    ),
    Case(
        "codex: developer, cached prompts",
        {
            "messages": [{"role": "developer", "content": "d"}, USER],
            "prompt_cache_key": "k",
            "prompt_cache_retention": "24h",
        },
    ),
    # Front ends
    Case(
        "openwebui: its own fields",
        {
            "stream": True,
            "chat_id": "c",
            "session_id": "s",
            "features": {},
            "background_tasks": {},
            "params": {},
            "messages": [{**USER, "id": "m", "timestamp": 1}],
        },
        ("chat_id", "session_id", "features", "background_tasks", "params"),
    ),
    Case("openwebui: no limit", {"model": "", "max_tokens": -1, "seed": 0, "logit_bias": {}}),
    Case(
        "librechat: penalties of zero",
        {"presence_penalty": 0, "frequency_penalty": 0, "top_p": 1, "user": "u"},
    ),
    Case(
        "n8n: an empty format",
        {"response_format": {"type": "text"}, "maxRetries": 2, "timeout": 60_000},
        ("maxRetries", "timeout"),
    ),
    Case(
        "sillytavern: samplers of other servers",
        {
            "top_k": -1,
            "min_p": 0,
            "repetition_penalty": 1,
            "top_a": 0,
            "typical_p": 1,
            "mirostat": 0,
            "dry": {},
        },
        ("top_a", "typical_p", "mirostat", "dry"),
    ),
    # Other servers' clients
    Case(
        "vllm: usage at every chunk",
        {
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "skip_special_tokens": True,
            "add_generation_prompt": True,
        },
        ("skip_special_tokens", "add_generation_prompt", "stream_options.continuous_usage_stats"),
    ),
    Case("ollama: arguments as an object", {"messages": loop(call({"a": 1.5}, id=None))}),
    Case(
        "together, fireworks: a schema beside json_object",
        {
            "response_format": {
                "type": "json_object",
                "schema": {"type": "object", "properties": {"a": {"type": "integer"}}},
            }
        },
    ),
    Case(
        "llama.cpp: a schema without a name",
        {"response_format": {"type": "json_schema", "schema": {"type": "object"}}},
    ),
    Case(
        "anthropic: a choice in its words", {"tools": [LOOK], "tool_choice": {"type": "tool", "name": "look"}}
    ),
    Case("functions that ask for nothing", {"functions": [], "function_call": "auto"}),
    Case("logprobs that are not wanted", {"logprobs": False, "top_logprobs": 0}),
    Case(
        "tools of little",
        {
            "tools": [
                {"type": "function", "function": {"name": "a"}},
                {
                    "type": "function",
                    "function": {"name": "b", "description": None, "parameters": None, "strict": None},
                },
                {"type": "function", "function": {"name": "c", "parameters": {}}},
                {
                    "type": "function",
                    "function": {"name": "d", "parameters": {"properties": {}}},
                    "cache_control": {},
                },
                {"function": {"name": "e", "parameters": {"type": "object", "properties": {}}}},
            ]
        },
    ),
    # Histories that are not what a model would write
    *(
        Case(f"arguments: {text[:20]!r}", {"messages": loop(call(text))})
        for text in (
            "",
            " ",
            "null",
            "{",
            '{"city": "Le',
            '{"a": [1, {"b',
            "[1]",
            "hello",
            '"{\\"a\\": 1}"',
            "NaN",
            '{"a": 1e400}',
            '{"a":' * 200,
        )
    ),
    Case("calls that say less", {"messages": loop({"function": {"name": "look"}})}),
    Case(
        "a result nobody asked for",
        {"messages": [USER, {"role": "tool", "tool_call_id": "x", "content": []}]},
    ),
    Case(
        "contents of nothing",
        {
            "messages": [
                {"role": "system", "content": ""},
                {"role": "user", "content": []},
                {"role": "assistant", "content": ""},
                {"role": "user", "content": [{"type": "text", "text": ""}]},
            ]
        },
    ),
]


@pytest.fixture(params=[HERMES, QWEN3], ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> ChatFormat:
    return request.param


@pytest.fixture
def served(serve: Callable[..., Any], family: ChatFormat) -> Any:
    return serve(features=CAN_ALL, chat_format=family)


def test_each_is_answered(served: Served) -> None:
    """One server for all of them."""
    headers = {"Authorization": f"Bearer {served.key}"}
    wrong: list[str] = []
    with httpx2.Client(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
        for case in CASES:
            served.engine.script = saying(served.tokenizer, _suiting(case))
            response = client.post("/v1/chat/completions", json={"messages": [USER], **case.body})
            listed = response.headers.get("x-tessera-ignored-params", "")
            if response.status_code != 200 or listed != ", ".join(case.ignored) or '"error"' in response.text:
                wrong.append(f"{case.id}: {response.status_code} [{listed}] {response.text[:300]}")
    assert wrong == []


def _suiting(case: Case) -> str:
    """The reply of a model that obeys the grammar."""
    return "{}" if "json" in str(case.body.get("response_format")) else "Fine."


SPOKEN = {
    "hermes": called("look", place="León", at=1.5),
    "qwen3": "<tool_call>\n<function=look>\n<parameter=place>\nLeón\n</parameter>\n<parameter=at>\n1.50\n"
    "</parameter>\n</function>\n</tool_call>",
}


def test_our_own_reply_is_taken_back_wherever_it_was_cut(served: Served, family: ChatFormat) -> None:
    spoken = SPOKEN[family.name]
    parameters = {"type": "object", "properties": {"place": {"type": "string"}, "at": {"type": "number"}}}
    tools = [{"type": "function", "function": {"name": "look", "parameters": parameters}}]
    served.engine.script = saying(served.tokenizer, spoken)
    headers = {"Authorization": f"Bearer {served.key}"}
    cut: set[str] = set()
    with httpx2.Client(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
        for max_tokens in range(1, len(spoken.encode()) + 2, 3):
            asked: Body = {"messages": [USER], "tools": tools, "max_tokens": max_tokens}
            message = client.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]
            results = [
                {"role": "tool", "tool_call_id": made["id"], "content": "The call was cut."}
                for made in message.get("tool_calls", ())
            ]
            again = client.post(
                "/v1/chat/completions", json={**asked, "messages": [USER, message, *results, USER]}
            )
            assert again.status_code == 200, (message, again.text)
            cut |= {made["function"]["arguments"] for made in message.get("tool_calls", ())}
    assert len([text for text in cut if not _is_json(text)]) > 3


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# What would silently give another result than was asked for.
REFUSED = [
    {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
    {"messages": [{"role": "function", "name": "f", "content": "x"}]},
    {"messages": [{"role": "user", "content": None}]},
    {"tools": [{"type": "web_search"}]},
    {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
    {"tool_choice": "required"},
    {"tool_choice": {"type": "function", "function": {"name": "look"}}},
    {"tools": [LOOK], "tool_choice": "jump"},
    {"functions": [{"name": "f"}]},
    {"modalities": ["text", "audio"]},
    {"web_search_options": {}},
    {"guided_json": {}},
    {"chat_template": "x"},
    {"response_format": {"type": "grammar", "grammar": "x"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
    {"chat_template_kwargs": {"enable_thinking": "false"}},
    {"enable_thinking": "true"},
    {"stream_options": {"include_usage": True}},
    {"top_logprobs": 5},
    {"max_tokens": 0},
    {"n": 16},
    {"temperature": "0.7"},
    {"stream": "true"},
]


def test_what_would_be_answered_with_something_else_is_refused(served: Served) -> None:
    headers = {"Authorization": f"Bearer {served.key}"}
    with httpx2.Client(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
        for body in REFUSED:
            response = client.post("/v1/chat/completions", json={"messages": [USER], **body})
            assert response.status_code == 400, body
            error = response.json()["error"]
            assert error["param"].split(".")[0].split("[")[0] in body, error
