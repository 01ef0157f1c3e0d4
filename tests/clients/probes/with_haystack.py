"""haystack: `OpenAIChatGenerator` and `Agent`."""

import gc
import os
from contextlib import suppress
from typing import Any

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage, StreamingChunk
from haystack.tools import create_tool_from_function
from haystack.utils import Secret
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
from report import Report


def weather(city: str, days: int) -> str:
    """The weather of a city in the next days."""
    return "sun"


TOOLS = [create_tool_from_function(weather)]


def generator(url: str = URL, key: str = KEY, model: str = MODEL, **fields: Any) -> Any:
    return OpenAIChatGenerator(
        Secret.from_token(key), model, api_base_url=url, max_retries=0, generation_kwargs=fields
    )


def said(*replies: Any) -> list[ChatMessage]:
    return [ChatMessage.from_user(prompt(*replies))]


def reply() -> None:
    equal(generator().run(said(ANSWER))["replies"][0].text, ANSWER)


def stream() -> None:
    chunks: list[StreamingChunk] = []
    (message,) = generator().run(said(ANSWER), streaming_callback=chunks.append)["replies"]
    equal(("".join(chunk.content for chunk in chunks), message.text), (ANSWER, ANSWER))
    holds(len(chunks) > 3, "all came at once")


def loop(first: object, n_calls: int) -> None:
    for callback in (None, lambda chunk: None):
        agent = Agent(chat_generator=generator(), tools=TOOLS, system_prompt="Be brief.")
        messages = agent.run(said(first, ANSWER), streaming_callback=callback)["messages"]
        calls = [(call.tool_name, call.arguments) for message in messages for call in message.tool_calls]
        equal((calls, messages[-1].text), ([("weather", LEON)] * n_calls, ANSWER))


def tools() -> None:
    loop(CALL, 1)


def parallel() -> None:
    loop(TWO_CALLS, 2)


def structured() -> None:
    expected = Report(**REPORT)
    (message,) = generator(response_format=Report).run(said(expected.model_dump_json()))["replies"]
    equal(Report.model_validate_json(message.text), expected)


def reasoning() -> str | None:
    thinking = {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}
    (message,) = generator(**thinking).run(said({"reasoning": "Let me see.", "text": ANSWER}))["replies"]
    equal(message.text, ANSWER)
    if message.reasoning is None:
        return "dropped"
    equal(message.reasoning.reasoning_text, "Let me see.")
    return None


def usage() -> None:
    (message,) = generator().run(said(ANSWER))["replies"]
    equal(message.meta["usage"]["completion_tokens"], len(ANSWER.encode()) + 1)
    counting = generator(stream_options={"include_usage": True})
    (message,) = counting.run(said(ANSWER), streaming_callback=lambda chunk: None)["replies"]
    equal(message.meta["usage"]["completion_tokens"], len(ANSWER.encode()) + 1)


def cancel() -> None:
    def leave(chunk: StreamingChunk) -> None:
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        generator(REFUSING_URL).run(said({"endless": True}), streaming_callback=leave)
    gc.collect()  # the connection is closed with the last object that knows it
    wait_until_idle()


def real() -> None:
    (message,) = generator(response_format=Report, max_tokens=200, temperature=0).run(said())["replies"]
    Report.model_validate_json(message.text)
    calling = generator(tool_choice="required", max_tokens=200, temperature=0, parallel_tool_calls=False)
    (message,) = calling.run(said(), tools=TOOLS)["replies"]
    holds({"city", "days"} <= set(message.tool_calls[0].arguments), f"no call: {message}")


def ask(prompt: str, key: str = KEY, model: str = MODEL, temperature: float = 1) -> None:
    generator(REFUSING_URL, key, model, temperature=temperature).run([ChatMessage.from_user(prompt)])


run(
    {
        "reply": reply,
        "stream": stream,
        "tools": tools,
        "parallel": parallel,
        "structured": structured,
        "reasoning": reasoning,
        "usage": usage,
        "cancel": cancel,
        "real": real,
        **{str(status): lambda status=status: shown(ask, status) for status in (400, 401, 404, 413, 429)},
    }
)
