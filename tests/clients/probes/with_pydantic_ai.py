"""Agents of pydantic-ai."""

from typing import Any

import openai
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
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from report import Report


def weather(city: str, days: int) -> str:
    """The weather of a city in the next days."""
    return "sun"


def agent(url: str = URL, key: str = KEY, model: str = MODEL, **options: Any) -> Any:
    client = openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0)
    return Agent(OpenAIChatModel(model, provider=OpenAIProvider(openai_client=client)), **options)


async def reply() -> None:
    equal((await agent().run(prompt(ANSWER))).output, ANSWER)


async def stream() -> None:
    async with agent().run_stream(prompt(ANSWER)) as events:
        deltas = [delta async for delta in events.stream_text(delta=True, debounce_by=None)]
    equal("".join(deltas), ANSWER)
    holds(len(deltas) > 3, "all came at once")


async def loop(first: object, n_calls: int) -> None:
    result = await agent(tools=[weather], instructions="Be brief.").run(prompt(first, ANSWER))
    equal((result.output, result.usage.tool_calls), (ANSWER, n_calls))
    parts = [part for message in result.all_messages() for part in message.parts]
    equal([part.args_as_dict() for part in parts if part.part_kind == "tool-call"], [LEON] * n_calls)


async def tools() -> None:
    await loop(CALL, 1)


async def parallel() -> None:
    await loop(TWO_CALLS, 2)


async def structured() -> None:
    for output in (NativeOutput(Report), ToolOutput(Report), PromptedOutput(Report)):
        said = prompt(CALL, {"fill": ["final_result", REPORT]})
        reporting = agent(output_type=output, tools=[weather])
        equal((await reporting.run(said)).output, Report(**REPORT))
        async with reporting.run_stream(said) as events:
            equal(await events.get_output(), Report(**REPORT))


async def reasoning() -> None:
    thinking = {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}
    said = prompt({"reasoning": "Let me see.", "text": ANSWER})
    result = await agent(model_settings=thinking).run(said)
    thoughts = [part.content for part in result.all_messages()[-1].parts if part.part_kind == "thinking"]
    equal((thoughts, result.output), (["Let me see."], ANSWER))


async def usage() -> None:
    counted = (await agent().run(prompt(ANSWER))).usage
    equal(counted.output_tokens, len(ANSWER.encode()) + 1)
    async with agent().run_stream(prompt(ANSWER)) as events:
        await events.get_output()
        equal(events.usage.output_tokens, counted.output_tokens)


async def cancel() -> None:
    async with agent(REFUSING_URL).run_stream(prompt({"endless": True})) as events:
        async for _ in events.stream_text(delta=True, debounce_by=None):
            break
    wait_until_idle()


async def real() -> None:
    briefly = {"max_tokens": 200, "temperature": 0}
    result = await agent(output_type=NativeOutput(Report), model_settings=briefly).run(prompt())
    holds(isinstance(result.output, Report), "no report")
    result = await agent(output_type=ToolOutput(Report), model_settings=briefly).run(prompt())
    holds(isinstance(result.output, Report), "no report by a call")


def ask(prompt: str, key: str = KEY, model: str = MODEL, temperature: float = 1) -> None:
    agent(REFUSING_URL, key, model).run_sync(prompt, model_settings={"temperature": temperature})


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
