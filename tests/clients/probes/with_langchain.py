"""LangChain: `ChatOpenAI`, or with the argument `langchain-qwq` the `ChatQwen` of langchain-qwq."""

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any, Literal

from langchain_core.messages import HumanMessage, ToolMessage
from probe import (
    ANSWER,
    CALL,
    KEY,
    LEON,
    MODEL,
    REFUSING_URL,
    REPORT,
    SERVER,
    TWO_CALLS,
    URL,
    equal,
    holds,
    prompt,
    run,
    shown,
    wait_until_idle,
)
from pydantic import BaseModel

QWEN = "langchain-qwq" in sys.argv
if QWEN:
    from langchain_qwq import ChatQwen as Chat
else:
    from langchain_openai import ChatOpenAI as Chat


class Report(BaseModel, extra="forbid"):
    """What the sky does."""

    sky: Literal["sun", "rain"]
    days: int | None


def weather(city: str, days: int) -> str:
    """The weather of a city in the next days."""
    return f"{days} × sun in {city}"


def chat(url: str = URL, **options: Any) -> Any:
    return Chat(**{"model": MODEL, "base_url": url, "api_key": KEY, "max_retries": 0, **options})


def reply() -> None:
    equal(chat().invoke(prompt(ANSWER)).content, ANSWER)


def stream() -> None:
    chunks = [chunk.content for chunk in chat().stream(prompt(ANSWER))]
    equal("".join(chunks), ANSWER)
    holds(len(chunks) > 3, "all came at once")


def loop(first: object, n_calls: int) -> None:
    model = chat().bind_tools([weather])
    history: list[Any] = [HumanMessage(prompt(first, ANSWER))]
    for n in (n_calls, 0):
        message = model.invoke(history)
        history.append(message)
        equal([(call["name"], call["args"]) for call in message.tool_calls], [("weather", LEON)] * n)
        history += [ToolMessage("sun", tool_call_id=call["id"]) for call in message.tool_calls]
    equal(message.content, ANSWER)


def tools() -> None:
    loop(CALL, 1)


def parallel() -> None:
    loop(TWO_CALLS, 2)


def structured() -> None:
    said = {"json_schema": json.dumps(REPORT), "json_mode": json.dumps(REPORT)}
    said["function_calling"] = {"calls": [["Report", REPORT]]}
    for method, each in said.items():
        model = chat().with_structured_output(Report, method=method)
        equal(model.invoke(prompt(each)), Report(**REPORT))


def reasoning() -> str | None:
    said = prompt({"reasoning": "Let me see.", "text": ANSWER})
    if QWEN:
        message = chat(enable_thinking=True).invoke(said)
        equal(message.content, ANSWER)
        equal(message.additional_kwargs.get("reasoning_content"), "Let me see.")
        return None
    message = chat(extra_body={"chat_template_kwargs": {"enable_thinking": True}}).invoke(said)
    equal(message.content, ANSWER)
    return "dropped"


def usage() -> None:
    counted = chat().invoke(prompt(ANSWER)).usage_metadata
    equal(counted["total_tokens"], counted["input_tokens"] + counted["output_tokens"])
    chunks = chat(stream_usage=True).stream(prompt(ANSWER))
    equal(
        sum(chunk.usage_metadata["output_tokens"] for chunk in chunks if chunk.usage_metadata),
        counted["output_tokens"],
    )


def cancel() -> None:
    for _ in (chunks := chat(REFUSING_URL).stream(prompt({"endless": True}))):
        break
    chunks.close()
    wait_until_idle()


PHRASES = {
    "magic_function(3)": {"calls": [["magic_function", {"input": 3}]]},
    "magic_function_no_args()": {"calls": [["magic_function_no_args", {}]]},
    "Pirate greeting": {"calls": [["greeting_generator", {"answer_style": "pirate"}]]},
    "Hello!": {"calls": [["magic_function", {"input": 1}]]},
    "What is 3 + 4": {"calls": [["my_adder_tool", {"a": 3, "b": 4}]]},
    "joke about cats": {"fill": ["Joke", {"setup": "Why?", "punchline": "Meow."}]},
    "San Francisco": {"calls": [["get_weather", {"location": "San Francisco, CA"}]]},
    "你好啊集团": {"calls": [["unicode_customer", {"customer_name": "你好啊集团", "description": "a"}]]},
    "こんにちは": {"calls": [["unicode_customer", {"customer_name": "こんにちは", "description": "a"}]]},
}
"""What to say to the prompts of LangChain's tests."""


def standard() -> str:
    """LangChain's own tests of chat models, as a run of pytest."""
    import pytest

    body = json.dumps(PHRASES).encode()
    urllib.request.urlopen(urllib.request.Request(f"{SERVER}/phrases", body)).close()
    outcomes: list[str] = []

    class Counting:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" or report.outcome != "passed":
                outcomes.append(report.outcome)
            if report.failed:
                print(report.nodeid, str(report.longrepr)[-1500:], file=sys.stderr)

    file = Path(__file__).with_name("langchain_standard.py")
    # Without the settings and fixtures of the project in whose folder this is.
    apart = [
        "-c",
        os.devnull,
        "--confcutdir",
        str(file.parent),
        "-p",
        "no:cacheprovider",
        "-p",
        "no:terminal",
    ]
    # One event loop, since LangChain's connections outlive a test.
    loop = [
        "--asyncio-mode=auto",
        *(f"-oasyncio_default_{what}_loop_scope=session" for what in ("test", "fixture")),
    ]
    pytest.main([*apart, *loop, str(file)], [Counting()])
    equal(outcomes.count("failed"), 0)
    holds(outcomes.count("passed") > 20, f"only {outcomes.count('passed')} tests were run")
    return f"{outcomes.count('passed')} passed"


def real() -> None:
    # Where `json_schema` is asked of it, ChatQwen asks for any JSON.
    method = "function_calling" if QWEN else "json_schema"
    briefly = {"max_tokens": 200, "temperature": 0}
    report = chat(**briefly).with_structured_output(Report, method=method).invoke(prompt())
    holds(isinstance(report, Report), f"no report: {report}")
    calling = chat(**briefly).bind_tools([weather], tool_choice="weather", parallel_tool_calls=False)
    (call,) = calling.invoke(prompt()).tool_calls
    holds({"city", "days"} <= set(call["args"]), f"no call: {call}")


def ask(prompt: str, key: str = KEY, model: str = MODEL, temperature: float = 1) -> None:
    chat(REFUSING_URL, api_key=key, model=model, temperature=temperature).invoke(prompt)


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
        "standard": standard,
        **{str(status): lambda status=status: shown(ask, status) for status in (400, 401, 404, 413, 429)},
    }
)
