"""LlamaIndex: `OpenAILike` and `FunctionAgent`."""

import gc
from typing import Any, Literal

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
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
from pydantic import BaseModel


class Report(BaseModel, extra="forbid"):
    """What the sky does."""

    sky: Literal["sun", "rain"]
    days: int | None


def weather(city: str, days: int) -> str:
    """The weather of a city in the next days."""
    return "sun"


def llm(url: str = URL, key: str = KEY, model: str = MODEL, **options: Any) -> Any:
    return OpenAILike(
        model=model,
        api_base=url,
        api_key=key,
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=32_768,
        max_retries=0,
        **options,
    )


def said(*replies: Any) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=prompt(*replies))]


def reply() -> None:
    equal(llm().chat(said(ANSWER)).message.content, ANSWER)


def stream() -> None:
    chunks = list(llm().stream_chat(said(ANSWER)))
    equal("".join(chunk.delta or "" for chunk in chunks), ANSWER)
    holds(len(chunks) > 3, "all came at once")


async def loop(first: object, n_calls: int) -> None:
    for streaming in (True, False):
        agent = FunctionAgent(tools=[weather], llm=llm(), system_prompt="Be brief.", streaming=streaming)
        handler = agent.run(prompt(first, ANSWER))
        called = [event async for event in handler.stream_events() if isinstance(event, ToolCallResult)]
        equal([(call.tool_name, call.tool_kwargs) for call in called], [("weather", LEON)] * n_calls)
        equal(str(await handler), ANSWER)


async def tools() -> None:
    await loop(CALL, 1)


async def parallel() -> None:
    await loop(TWO_CALLS, 2)


def structured() -> None:
    for uses_schema in (True, False):
        asking = llm(should_use_structured_outputs=uses_schema).as_structured_llm(Report)
        equal(asking.chat(said({"fill": ["Report", REPORT]})).raw, Report(**REPORT))


def reasoning() -> str | None:
    thinking = {"extra_body": {"chat_template_kwargs": {"enable_thinking": True}}}
    found = llm(additional_kwargs=thinking).chat(said({"reasoning": "Let me see.", "text": ANSWER}))
    equal(found.message.content, ANSWER)
    blocks = [block.content for block in found.message.blocks if block.block_type == "thinking"]
    if not blocks:
        return "dropped"
    equal(blocks, ["Let me see."])
    return None


def usage() -> None:
    equal(llm().chat(said(ANSWER)).raw.usage.completion_tokens, len(ANSWER.encode()) + 1)


def cancel() -> None:
    chunks = llm(REFUSING_URL).stream_chat(said({"endless": True}))
    next(chunks)
    chunks.close()
    del chunks
    gc.collect()  # the connection is closed with the last object that knows it
    wait_until_idle()


def real() -> None:
    asking = llm(should_use_structured_outputs=True, max_tokens=200, temperature=0).as_structured_llm(Report)
    holds(isinstance(asking.chat(said()).raw, Report), "no report")
    tool = FunctionTool.from_defaults(weather)
    options = {"tool_required": True, "allow_parallel_tool_calls": False, "max_tokens": 200}
    calling = llm(temperature=0).chat_with_tools([tool], prompt(), **options)
    (call,) = llm().get_tool_calls_from_response(calling)
    holds({"city", "days"} <= set(call.tool_kwargs), f"no call: {call}")


def ask(prompt: str, key: str = KEY, model: str = MODEL, temperature: float = 1) -> None:
    asked = [ChatMessage(role="user", content=prompt)]
    # Its own field for the temperature has bounds of its own.
    llm(REFUSING_URL, key, model, additional_kwargs={"temperature": temperature}).chat(asked)


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
