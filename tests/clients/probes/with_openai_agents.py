"""The agents library of OpenAI, on chat completions."""

import dataclasses
import json
from typing import Any

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
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

set_tracing_disabled(True)
heard: list[dict[str, Any]] = []


@function_tool
def weather(city: str, days: int) -> str:
    """The weather of a city in the next days."""
    heard.append({"city": city, "days": days})
    return "sun"


def agent(url: str = URL, key: str = KEY, model: str = MODEL, **options: Any) -> Any:
    client = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0)
    return Agent("assistant", model=OpenAIChatCompletionsModel(model, client), **options)


async def reply() -> None:
    equal((await Runner.run(agent(instructions="Be brief."), prompt(ANSWER))).final_output, ANSWER)


async def deltas(agent: Any, said: str) -> list[str]:
    result = Runner.run_streamed(agent, said)
    events = [event.data async for event in result.stream_events() if event.type == "raw_response_event"]
    return [event.delta for event in events if event.type == "response.output_text.delta"]


async def stream() -> None:
    found = await deltas(agent(), prompt(ANSWER))
    equal("".join(found), ANSWER)
    holds(len(found) > 3, "all came at once")


async def loop(first: object, n_calls: int) -> None:
    heard.clear()
    said = prompt(first, ANSWER)
    equal((await Runner.run(agent(tools=[weather]), said)).final_output, ANSWER)
    equal(heard, [LEON] * n_calls)
    equal("".join(await deltas(agent(tools=[weather]), said)), ANSWER)
    equal(heard, [LEON] * n_calls * 2)


async def tools() -> None:
    await loop(CALL, 1)


async def parallel() -> None:
    await loop(TWO_CALLS, 2)


async def structured() -> None:
    reporting = agent(output_type=Report, tools=[weather])
    equal((await Runner.run(reporting, prompt(CALL, json.dumps(REPORT)))).final_output, Report(**REPORT))


async def reasoning() -> None:
    thinking = ModelSettings(extra_body={"chat_template_kwargs": {"enable_thinking": True}})
    said = prompt({"reasoning": "Let me see.", "text": ANSWER})
    result = await Runner.run(agent(model_settings=thinking), said)
    thoughts = [item.raw_item.summary[0].text for item in result.new_items if item.type == "reasoning_item"]
    equal((thoughts, result.final_output), (["Let me see."], ANSWER))


async def usage() -> None:
    result = await Runner.run(agent(), prompt(ANSWER))
    equal(result.context_wrapper.usage.output_tokens, len(ANSWER.encode()) + 1)


async def cancel() -> None:
    result = Runner.run_streamed(agent(REFUSING_URL), prompt({"endless": True}))
    n = 0
    async for _ in result.stream_events():
        n += 1
        if n == 5:
            result.cancel()
    wait_until_idle()


async def real() -> None:
    briefly = ModelSettings(max_tokens=200, temperature=0)
    result = await Runner.run(agent(output_type=Report, model_settings=briefly), prompt())
    holds(isinstance(result.final_output, Report), "no report")
    calling = dataclasses.replace(briefly, tool_choice="required", parallel_tool_calls=False)
    stopping = agent(tools=[weather], model_settings=calling, tool_use_behavior="stop_on_first_tool")
    equal((await Runner.run(stopping, prompt())).final_output, "sun")


def ask(prompt: str, key: str = KEY, model: str = MODEL, temperature: float = 1) -> None:
    Runner.run_sync(
        agent(REFUSING_URL, key, model, model_settings=ModelSettings(temperature=temperature)), prompt
    )


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
