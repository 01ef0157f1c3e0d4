"""The official client against an engine that answers every grammar with its shortest reply."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from tessera.engine.scripted.engine import SENTENCE, ScriptedTokenizer, cycling, thinking_first
from tessera.engine.scripted.grammar_replies import GrammarReplies
from tessera.formats.glm import GLM, GLM_4_7
from tessera.formats.gpt_oss import GPT_OSS
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3

TOKENIZER = ScriptedTokenizer()
THINKING = {"chat_template_kwargs": {"enable_thinking": True}}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 2},
        "days": {"type": "integer", "minimum": 10},
        "unit": {"enum": ["celsius", "F"]},
        "on": {"type": "string", "format": "date"},
    },
    "required": ["city", "days", "unit", "on"],
    "additionalProperties": False,
}


def tool(name: str, schema: Any = SCHEMA) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [tool("weather_of_a_city"), tool("wx")]


@pytest.fixture(
    params=[HERMES, QWEN3, GLM, GLM_4_7, GPT_OSS], ids=["json", "xml", "glm", "glm-4.7", "gpt-oss"]
)
def client(serve: Callable[..., Any], request: pytest.FixtureRequest) -> Iterator[openai.OpenAI]:
    tags = request.param.syntax.reasoning
    served = serve(
        chat_format=request.param,
        script=thinking_first(TOKENIZER, cycling(TOKENIZER, n_tokens=20), tags),
        replies=GrammarReplies(TOKENIZER),
    )
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0) as client:
        yield client


# The engine says its sentence where a reply may begin with any text.
says_at_once = pytest.mark.parametrize(
    "client", [HERMES, QWEN3, GLM_4_7], ids=["json", "xml", "glm-4.7"], indirect=True
)


def ask(client: openai.OpenAI, **fields: Any) -> Any:
    asked = {"model": "alias", "messages": [{"role": "user", "content": "Hello"}], **fields}
    return client.chat.completions.create(**asked)


def check_arguments(text: str) -> None:
    value = json.loads(text)
    assert (len(value["city"]), len(str(value["days"])), value["unit"]) == (2, 2, "F")
    assert len(value["on"]) == 10


@pytest.mark.parametrize(
    ("fields", "names", "finish"),
    [
        ({"tool_choice": "required"}, {"wx"}, "tool_calls"),
        ({"tool_choice": "required", "parallel_tool_calls": False}, {"wx"}, "tool_calls"),
        ({"tool_choice": "required", "extra_body": THINKING}, {"wx"}, "tool_calls"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "weather_of_a_city"}}},
            {"weather_of_a_city"},
            "stop",
        ),
    ],
    ids=["required", "at most one", "thinking", "named"],
)
def test_a_call(client: openai.OpenAI, fields: dict[str, Any], names: set[str], finish: str) -> None:
    (choice,) = ask(client, tools=TOOLS, **fields).choices
    assert (choice.finish_reason, choice.message.content) == (finish, None)
    (call,) = choice.message.tool_calls
    assert {call.function.name} == names
    check_arguments(call.function.arguments)
    assert hasattr(choice.message, "reasoning_content") == ("extra_body" in fields)


@says_at_once
def test_auto_says_the_sentence(client: openai.OpenAI) -> None:
    (choice,) = ask(client, tools=TOOLS).choices
    assert (choice.finish_reason, choice.message.tool_calls) == ("stop", None)
    assert choice.message.content.startswith(SENTENCE)


def test_several_choices(client: openai.OpenAI) -> None:
    reply = ask(client, tools=TOOLS, tool_choice="required", n=3, logprobs=True)
    arguments = [choice.message.tool_calls[0].function.arguments for choice in reply.choices]
    assert [choice.index for choice in reply.choices] == [0, 1, 2]
    assert len({*arguments}) == 1
    check_arguments(arguments[0])


@pytest.mark.parametrize("thinking", [{}, {"extra_body": THINKING}], ids=["direct", "thinking"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_schema(client: openai.OpenAI, stream: bool, thinking: dict[str, Any]) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}}
    reply = ask(client, response_format=wanted, stream=stream, **thinking)
    if stream:
        chunks = [*reply]
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        finish = chunks[-1].choices[0].finish_reason
    else:
        content, finish = reply.choices[0].message.content, reply.choices[0].finish_reason
    assert finish == "stop"
    check_arguments(content)


def test_any_object(client: openai.OpenAI) -> None:
    assert ask(client, response_format={"type": "json_object"}).choices[0].message.content == "{}"


def test_calls_are_streamed(client: openai.OpenAI) -> None:
    chunks = [*ask(client, tools=TOOLS, tool_choice="required", stream=True)]
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert (deltas[0].index, deltas[0].function.name) == (0, "wx")
    check_arguments("".join(delta.function.arguments or "" for delta in deltas))
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_a_reply_that_is_cut_ends_with_length(client: openai.OpenAI) -> None:
    (choice,) = ask(client, tools=TOOLS, tool_choice="required", max_tokens=30).choices
    assert choice.finish_reason == "length"


@says_at_once
def test_a_stop_string_ends_the_sentence(client: openai.OpenAI) -> None:
    (choice,) = ask(client, tools=TOOLS, stop=" burned").choices
    assert (choice.finish_reason, choice.message.content) == ("stop", "the little lamp")


def test_recursion(client: openai.OpenAI) -> None:
    class_of_nodes = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "minItems": 1}},
        "required": ["children"],
        "additionalProperties": False,
    }
    node = {"anyOf": [class_of_nodes, {"type": "null"}]}
    schema = {**class_of_nodes, "$defs": {"node": node}}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": schema}}
    content = ask(client, response_format=wanted).choices[0].message.content
    assert json.loads(content) == {"children": [None]}
