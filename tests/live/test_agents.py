"""Agents on the embedded model: whatever it says is valid, and the next prompt begins with what is cached."""

import json
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel, Field
from tests.live.conftest import NO_BUDGETS, LiveService

pytestmark = [pytest.mark.live, pytest.mark.full]
BLOCK = 32
"""Tokens of a block of the engine's prefix cache."""

QUESTION = "What will the weather be in León this week?"
THINKING: dict[str, Any] = {
    "chat_template_kwargs": {"enable_thinking": True},
    "thinking_token_budget": 24,
    "logit_bias": {198: -100},  # a newline first in the reasoning is no part of it, and would be lost
}


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["León", "New York", "東京"]
    days: int = Field(ge=1, le=14)
    rain: bool | None


class Search(BaseModel):
    """Search the library."""

    words: list[Literal["sea", "dragon", "lamp"]] = Field(min_length=1, max_length=2)


TOOLS: list[Any] = [openai.pydantic_function_tool(Weather), openai.pydantic_function_tool(Search)]


def converse(service: LiveService, streamed: bool, **fields: Any) -> list[Any]:
    """Has a conversation of two calls and the beginning of an answer; returns the replies."""
    messages: list[Any] = [{"role": "user", "content": QUESTION}]
    asked = {"model": service.model.id, "messages": messages, "tools": TOOLS, **fields}
    calling = {**asked, "tool_choice": "required", "parallel_tool_calls": False}
    replies: list[Any] = []
    for _ in range(2):
        if streamed:
            with service.client.chat.completions.stream(
                **calling, stream_options={"include_usage": True}
            ) as stream:
                replies.append(stream.get_final_completion())
        else:
            replies.append(service.client.chat.completions.parse(**calling))
        message = replies[-1].choices[0].message
        messages.append(message)
        for call in message.tool_calls:
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "sun, 21 °C"})
    return [*replies, service.client.chat.completions.create(**asked, tool_choice="none", max_tokens=4)]


@pytest.mark.parametrize("extra", [{}, THINKING], ids=["direct", "thinking"])
@pytest.mark.parametrize(
    ("streamed", "sampled"),
    [(False, {"temperature": 0}), (True, {"temperature": 1.3, "seed": 5})],
    ids=["greedy", "sampled"],
)
def test_a_loops_prompts_begin_with_what_was_generated(
    service: LiveService, streamed: bool, extra: dict[str, Any], sampled: dict[str, Any]
) -> None:
    if extra and not service.budgets:
        pytest.skip(NO_BUDGETS)
    service.engine.generations.clear()
    replies = converse(service, streamed, extra_body=extra, **sampled)
    assert [reply.choices[0].finish_reason for reply in replies[:2]] == ["tool_calls"] * 2
    generations = service.engine.generations
    for before, after, reply in zip(generations, generations[1:], replies[1:], strict=False):
        begun = (*before.prompt.token_ids, *before.output)
        assert after.prompt.token_ids[: len(begun)] == begun
        # The last token that was generated never went through the model.
        assert (
            not service.shares
            or reply.usage.prompt_tokens_details.cached_tokens >= (len(begun) - 1) // BLOCK * BLOCK
        )
        assert reply.usage.prompt_tokens == len(after.prompt.token_ids)


def test_calls_are_what_pydantic_says(service: LiveService) -> None:
    for seed in range(3):
        message = converse(service, streamed=False, temperature=1.5, seed=seed)[0].choices[0].message
        (call,) = message.tool_calls
        assert isinstance(call.function.parsed_arguments, Weather | Search)


class Report(BaseModel):
    sky: Literal["sun", "rain", "snow"]
    degrees: list[Literal[-3, 21]] = Field(max_length=2)
    place: Weather | None


@pytest.mark.parametrize("extra", [{}, THINKING], ids=["direct", "thinking"])
def test_structured_output_parses(service: LiveService, extra: dict[str, Any]) -> None:
    if extra and not service.budgets:
        pytest.skip(NO_BUDGETS)
    for seed in range(2):
        asked: dict[str, Any] = {
            "model": service.model.id,
            "messages": [{"role": "user", "content": QUESTION}],
            "response_format": Report,
            "temperature": 1.5,
            "seed": seed,
            "extra_body": {**extra, "top_k": 20},
        }
        assert isinstance(service.client.chat.completions.parse(**asked).choices[0].message.parsed, Report)
        with service.client.chat.completions.stream(**asked) as stream:
            done = [event for event in stream if event.type == "content.done"]
        assert [type(event.parsed) for event in done] == [Report]


def test_json_objects(service: LiveService) -> None:
    reply = service.ask(
        "A JSON object, please.", response_format={"type": "json_object"}, max_tokens=60, seed=1
    )
    content = reply.choices[0].message.content
    assert content.startswith("{")
    assert reply.choices[0].finish_reason == "length" or isinstance(json.loads(content), dict)


@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "Search"}}, "stop"),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "function", "function": {"name": "Search"}}],
                },
            },
            "tool_calls",
        ),
    ],
    ids=["required", "named", "allowed"],
)
def test_tool_choice(service: LiveService, choice: Any, finish: str) -> None:
    parallel = finish == "stop"  # the named one needs no field to be one
    reply = service.ask(
        QUESTION, tools=TOOLS, tool_choice=choice, parallel_tool_calls=parallel, temperature=0
    )
    assert reply.choices[0].finish_reason == finish
    (call,) = reply.choices[0].message.tool_calls
    assert call.function.name in (["Search"] if choice != "required" else ["Search", "Weather"])
    assert reply.choices[0].message.content is None
