"""The LiteLLM library, with the provider `openai` and the address of the server."""

import json
import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches a table of prices

import litellm
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

litellm.telemetry = False
litellm.suppress_debug_info = True


PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]


def complete(said: Any, url: str = URL, key: str = KEY, model: str = MODEL, **options: Any) -> Any:
    messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
    fields = {"model": f"openai/{model}", "base_url": url, "api_key": key, "max_retries": 0, **options}
    return litellm.completion(messages=messages, **fields)


def reply() -> None:
    equal(complete(prompt(ANSWER)).choices[0].message.content, ANSWER)


def stream() -> None:
    chunks = list(complete(prompt(ANSWER), stream=True))
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks), ANSWER)
    holds(len(chunks) > 3, "all came at once")
    equal(litellm.stream_chunk_builder(chunks).choices[0].message.content, ANSWER)


def loop(first: object, n_calls: int) -> None:
    messages: list[Any] = [{"role": "user", "content": prompt(first, ANSWER)}]
    for n in (n_calls, 0):
        message = complete(messages, tools=TOOLS).choices[0].message
        messages.append(message)
        calls = message.tool_calls or []
        equal(
            [(call.function.name, json.loads(call.function.arguments)) for call in calls],
            [("weather", LEON)] * n,
        )
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "sun"} for call in calls]
    equal(message.content, ANSWER)


def tools() -> None:
    loop(CALL, 1)


def parallel() -> None:
    loop(TWO_CALLS, 2)


def structured() -> None:
    text = complete(prompt(json.dumps(REPORT)), response_format=Report).choices[0].message.content
    equal(Report.model_validate_json(text), Report(**REPORT))


def reasoning() -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    said = prompt({"reasoning": "Let me see.", "text": ANSWER})
    message = complete(said, extra_body=thinking).choices[0].message
    equal((message.reasoning_content, message.content), ("Let me see.", ANSWER))


def usage() -> None:
    n = complete(prompt(ANSWER)).usage.completion_tokens
    equal(n, len(ANSWER.encode()) + 1)
    chunks = list(complete(prompt(ANSWER), stream=True, stream_options={"include_usage": True}))
    equal(chunks[-1].usage.completion_tokens, n)


def cancel() -> None:
    chunks = complete(prompt({"endless": True}), REFUSING_URL, stream=True)
    next(iter(chunks))
    chunks.completion_stream.close()
    wait_until_idle()


def real() -> None:
    text = (
        complete(prompt(), response_format=Report, max_tokens=200, temperature=0).choices[0].message.content
    )
    Report.model_validate_json(text)
    message = (
        complete(prompt(), tools=TOOLS, tool_choice="required", max_tokens=200, temperature=0)
        .choices[0]
        .message
    )
    holds({"city", "days"} <= set(json.loads(message.tool_calls[0].function.arguments)), "no call")


def ask(prompt: str, key: str = KEY, model: str = MODEL, temperature: float = 1) -> None:
    complete(prompt, REFUSING_URL, key, model, temperature=temperature)


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
