"""smolagents: agents that call tools, and agents that write code."""

import gc
import json
from typing import Any

from probe import (
    ANSWER,
    CALL,
    KEY,
    LEON,
    MODEL,
    REFUSING_URL,
    REPORT,
    TWO_CALLS,
    URL,
    equal,
    holds,
    prompt,
    run,
    shown,
    wait_until_idle,
)
from smolagents import CodeAgent, LogLevel, OpenAIModel, ToolCallingAgent, tool

heard: list[dict[str, Any]] = []


@tool
def weather(city: str, days: int) -> str:
    """The weather of a city in the next days.

    Args:
        city: Where.
        days: How many.
    """
    heard.append({"city": city, "days": days})
    return "sun"


def model(url: str = URL, key: str = KEY, id: str = MODEL, **options: Any) -> Any:
    return OpenAIModel(
        id, api_base=url, api_key=key, client_kwargs={"max_retries": 0}, retry=False, **options
    )


def messages(said: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": said}]}]


FINAL = {"calls": [["final_answer", {"answer": ANSWER}]]}


def reply() -> None:
    equal(model().generate(messages(prompt(ANSWER))).content, ANSWER)


def stream() -> None:
    deltas = [delta.content or "" for delta in model().generate_stream(messages(prompt(ANSWER)))]
    equal("".join(deltas), ANSWER)
    holds(len(deltas) > 3, "all came at once")


def loop(first: object, n_calls: int) -> None:
    for streamed in (False, True):
        heard.clear()
        agent = ToolCallingAgent([weather], model(), stream_outputs=streamed, verbosity_level=LogLevel.OFF)
        equal(agent.run(prompt(first, FINAL), max_steps=3), ANSWER)
        equal(heard, [LEON] * n_calls)


def tools() -> None:
    loop(CALL, 1)


def parallel() -> None:
    loop(TWO_CALLS, 2)


def code() -> None:
    heard.clear()
    steps = [
        f"Thought: I look.\n<code>\n{line}\n</code>"
        for line in ("print(weather('León', 3))", f"final_answer({ANSWER!r})")
    ]
    agent = CodeAgent([weather], model(), verbosity_level=LogLevel.OFF)
    equal(agent.run(prompt(*steps), max_steps=3), ANSWER)
    equal(heard, [LEON])
    steps = [json.dumps({"thought": "I look.", "code": f"final_answer({ANSWER!r})"})]
    agent = CodeAgent([], model(), use_structured_outputs_internally=True, verbosity_level=LogLevel.OFF)
    equal(agent.run(prompt(*steps), max_steps=3), ANSWER)


def structured() -> None:
    schema = {
        "type": "object",
        "properties": {"sky": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["sky", "days"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "report", "schema": schema, "strict": True}}
    said = messages(prompt(json.dumps(REPORT)))
    equal(json.loads(model().generate(said, response_format=form).content), REPORT)


def usage() -> None:
    equal(model().generate(messages(prompt(ANSWER))).token_usage.output_tokens, len(ANSWER.encode()) + 1)
    *_, last = model().generate_stream(messages(prompt(ANSWER)))
    equal(last.token_usage.output_tokens, len(ANSWER.encode()) + 1)


def cancel() -> None:
    deltas = model(REFUSING_URL).generate_stream(messages(prompt({"endless": True})))
    next(deltas)
    deltas.close()
    gc.collect()  # the connection is closed with the last object that knows it
    wait_until_idle()


def real() -> None:
    agent = ToolCallingAgent(
        [weather],
        model(max_tokens=200, temperature=0, parallel_tool_calls=False),
        verbosity_level=LogLevel.OFF,
    )
    agent.run("What is the weather in León?", max_steps=1)
    calls = [step.tool_calls for step in agent.memory.steps if getattr(step, "tool_calls", None)]
    holds(calls, "no call")


def ask(prompt: str, key: str = KEY, id: str = MODEL, temperature: float = 1, **named: str) -> None:
    model(REFUSING_URL, key, named.get("model", id), temperature=temperature).generate(messages(prompt))


run(
    {
        "reply": reply,
        "stream": stream,
        "tools": tools,
        "parallel": parallel,
        "structured": structured,
        "code": code,
        "usage": usage,
        "cancel": cancel,
        "real": real,
        **{str(status): lambda status=status: shown(ask, status) for status in (400, 401, 404, 413, 429)},
    }
)
