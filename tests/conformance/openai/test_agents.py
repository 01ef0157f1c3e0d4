"""The official client's own machinery: Pydantic models, stream helpers and tool loops."""

import json
from collections.abc import Callable
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel
from tests.conftest import Served
from tests.scripts import CAN_ALL, answering, called, written

from tessera.core.generation import Prompt
from tessera.engine.scripted.engine import saying

HELLO: list[Any] = [{"role": "user", "content": "Weather in León?"}]
LEON = '{"city": "León", "days": 3}'


class Weather(BaseModel):
    """The weather of the next days."""

    city: str
    days: int


class Report(BaseModel):
    sky: Literal["sun", "rain"]
    degrees: list[float]
    place: Weather | None


REPORT = Report(sky="sun", degrees=[1.5, -2.0], place=Weather(city="León", days=3))
SPOKEN = REPORT.model_dump_json()
TOOLS: list[Any] = [openai.pydantic_function_tool(Weather)]
ASKED: dict[str, Any] = {"model": "alias", "messages": HELLO, "tools": TOOLS}


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    return serve(features=CAN_ALL)


@pytest.fixture
async def caller(served: Served) -> Any:
    async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=0) as caller:
        yield caller


def test_parse_a_response_format(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, SPOKEN)
    reply = client.chat.completions.parse(model="alias", messages=HELLO, response_format=Report)
    assert reply.choices[0].message.parsed == REPORT
    assert reply.choices[0].finish_reason == "stop"


def test_parse_a_call(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, called("Weather", city="León", days=3))
    message = client.chat.completions.parse(**ASKED).choices[0].message
    assert message.content is None
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.function.parsed_arguments == Weather(city="León", days=3)
    assert call.function.arguments == LEON


def test_parse_the_answer_of_a_request_with_both(served: Served, client: openai.OpenAI) -> None:
    both = {**ASKED, "response_format": Report}
    served.engine.script = saying(served.tokenizer, SPOKEN)
    assert client.chat.completions.parse(**both).choices[0].message.parsed == REPORT
    served.engine.script = saying(served.tokenizer, called("Weather", city="León", days=3))
    message = client.chat.completions.parse(**both).choices[0].message
    assert message.parsed is None
    assert message.tool_calls


def test_a_reply_that_was_cut_is_said_to_be(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, SPOKEN)
    asked: dict[str, Any] = {"model": "alias", "messages": HELLO, "response_format": Report, "max_tokens": 5}
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(**asked)


def test_an_engine_that_disobeys_gives_an_error_and_no_reply(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, '{"sky": "green"}')
    with pytest.raises(openai.InternalServerError, match="did not fit the schema") as caught:
        client.chat.completions.parse(model="alias", messages=HELLO, response_format=Report)
    assert (caught.value.status_code, caught.value.code) == (502, "generation_failed")


def test_stream_events_of_an_answer(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, SPOKEN)
    with client.chat.completions.stream(model="alias", messages=HELLO, response_format=Report) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    deltas = [event for event in events if event.type == "content.delta"]
    assert len(deltas) > 10
    assert "".join(event.delta for event in deltas) == SPOKEN
    assert deltas[-1].parsed == json.loads(SPOKEN)
    (done,) = [event for event in events if event.type == "content.done"]
    assert done.parsed == REPORT
    assert final.choices[0].message.parsed == REPORT


def test_stream_events_of_calls(served: Served, client: openai.OpenAI) -> None:
    first, second = called("Weather", city="León", days=3), called("Weather", city="Ávila", days=1)
    served.engine.script = saying(served.tokenizer, f"I look.\n{first}\n{second}")
    with client.chat.completions.stream(**ASKED) as stream:
        events = list(stream)
        message = stream.get_final_completion().choices[0].message
    deltas = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
    assert {event.index for event in deltas} == {0, 1}
    assert "".join(event.arguments_delta for event in deltas if event.index == 0) == LEON
    dones = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [event.parsed_arguments for event in dones] == [
        Weather(city="León", days=3),
        Weather(city="Ávila", days=1),
    ]
    assert message.content == "I look."
    calls = message.tool_calls or []
    assert [call.function.name for call in calls] == ["Weather", "Weather"]
    assert len({call.id for call in calls}) == 2


def test_stream_events_of_logprobs(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(served.tokenizer, "ab")
    with client.chat.completions.stream(model="alias", messages=HELLO, logprobs=True) as stream:
        (done,) = [event for event in stream if event.type == "logprobs.content.done"]
    assert [score.token for score in done.content] == ["a", "b"]


def test_a_tool_loop(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = answering(
        served.tokenizer,
        "Two days.\n" + called("Weather", city="León", days=2),
        called("Weather", city="León", days=3),
        "Sun.",
    )
    messages, finishes = list(HELLO), list[str]()
    while True:
        choice = client.chat.completions.parse(**{**ASKED, "messages": messages}).choices[0]
        finishes.append(choice.finish_reason)
        messages.append(choice.message)
        for call in choice.message.tool_calls or ():
            asked = call.function.parsed_arguments
            assert isinstance(asked, Weather)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"{asked.days} × sun"})
        if not choice.message.tool_calls:
            break
    assert choice.message.content == "Sun."
    assert finishes == ["tool_calls", "tool_calls", "stop"]


def test_what_the_model_reads_of_a_loop(served: Served, client: openai.OpenAI) -> None:
    """The second prompt is the first, what was said to it, and the result."""
    prompts: list[Prompt] = []
    said = called("Weather", city="León", days=2)
    script = answering(served.tokenizer, said, "Sun.")

    def recording(prompt: Prompt, sequence: int) -> Any:
        prompts.append(prompt)
        return script(prompt, sequence)

    served.engine.script = recording
    message = client.chat.completions.create(**ASKED).choices[0].message
    assert message.tool_calls
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sun"}
    client.chat.completions.create(**{**ASKED, "messages": [*HELLO, message, result]})
    first, second = (written(served.tokenizer, prompt) for prompt in prompts)
    assert second.startswith(f"{first}{said}<|im_end|>\n<|im_start|>user\n<tool_response>\nsun\n")


def test_reasoning_is_beside_the_answer(served: Served, client: openai.OpenAI) -> None:
    served.engine.script = saying(
        served.tokenizer, "Let me see.\n</think>\n\n" + called("Weather", city="L", days=1)
    )
    thinking = {**ASKED, "extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}
    reply = client.chat.completions.create(**thinking)
    message: Any = reply.choices[0].message
    assert (message.content, message.reasoning_content, message.reasoning) == (None, *["Let me see."] * 2)
    with client.chat.completions.stream(**thinking) as stream:
        final: Any = stream.get_final_completion().choices[0].message
    assert (final.reasoning_content, final.reasoning) == (message.reasoning_content, message.reasoning)
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.reasoning_tokens == len("Let me see.\n</think>")


@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        ("auto", "tool_calls"),
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "Weather"}}, "stop"),
    ],
    ids=str,
)
def test_finish_reasons_of_calls(served: Served, client: openai.OpenAI, choice: Any, finish: str) -> None:
    served.engine.script = saying(served.tokenizer, called("Weather", city="León", days=3))
    assert client.chat.completions.create(**ASKED, tool_choice=choice).choices[0].finish_reason == finish


@pytest.mark.anyio
async def test_the_async_client_parses(served: Served, caller: openai.AsyncOpenAI) -> None:
    served.engine.script = saying(served.tokenizer, SPOKEN)
    reply = await caller.chat.completions.parse(model="alias", messages=HELLO, response_format=Report)
    assert reply.choices[0].message.parsed == REPORT


@pytest.mark.anyio
async def test_the_async_client_streams_a_tool_loop(served: Served, caller: openai.AsyncOpenAI) -> None:
    served.engine.script = answering(served.tokenizer, called("Weather", city="León", days=3), "Sun.")
    messages: list[Any] = list(HELLO)
    events: list[Any] = []
    message: Any = None
    for _ in range(2):
        async with caller.chat.completions.stream(**{**ASKED, "messages": messages}) as stream:
            events = [event async for event in stream]
            message = (await stream.get_final_completion()).choices[0].message
        messages.append(message)
        for call in message.tool_calls or ():
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "sun"})
    assert message.content == "Sun."
    assert [event.type for event in events if event.type != "chunk"] == ["content.delta"] * 4 + [
        "content.done"
    ]


def test_parameters_that_no_grammar_can_enforce_are_refused(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"not": {"const": 1}}}}
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}
    with pytest.raises(openai.BadRequestError, match="#/properties/a/not") as caught:
        client.chat.completions.create(model="alias", messages=HELLO, tools=[tool])
    assert (caught.value.param, caught.value.code) == ("tools[0].function.parameters", "invalid_schema")
