"""The official Python client: of today, and 1.40, the first with `.parse` and `.stream`."""

import json

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
from pydantic import BaseModel
from report import Report

client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)
refusing = openai.OpenAI(base_url=REFUSING_URL, api_key=KEY, max_retries=0)
completions = client.chat.completions
# Until 1.92 the newer methods were in `beta`.
parsing = completions if hasattr(completions, "parse") else client.beta.chat.completions


class weather(BaseModel):
    """The weather of a city in the next days."""

    city: str
    days: int


BRIEFLY = {"max_tokens": 200, "temperature": 0}
TOOLS = [openai.pydantic_function_tool(weather)]


def asked(*replies: object) -> dict:
    return {"model": MODEL, "messages": [{"role": "user", "content": prompt(*replies)}]}


def reply() -> None:
    equal(completions.create(**asked(ANSWER)).choices[0].message.content, ANSWER)


def stream() -> None:
    chunks = [
        chunk.choices[0].delta.content or "" for chunk in completions.create(**asked(ANSWER), stream=True)
    ]
    equal("".join(chunks), ANSWER)
    holds(len(chunks) > 3, "all came at once")
    with parsing.stream(**asked(ANSWER)) as events:
        equal(events.get_final_completion().choices[0].message.content, ANSWER)


def loop(first: object, n_calls: int, streamed: bool) -> None:
    request = {**asked(first, ANSWER), "tools": TOOLS}
    for n in (n_calls, 0):
        if streamed:
            with parsing.stream(**request) as events:
                message = events.get_final_completion().choices[0].message
        else:
            message = parsing.parse(**request).choices[0].message
        equal(len(message.tool_calls or []), n)
        request["messages"].append(message)
        for call in message.tool_calls or []:
            equal((call.function.name, call.function.parsed_arguments), ("weather", weather(**LEON)))
            request["messages"].append({"role": "tool", "tool_call_id": call.id, "content": "sun"})
    equal(message.content, ANSWER)


def tools() -> None:
    loop(CALL, 1, streamed=False)
    loop(CALL, 1, streamed=True)


def parallel() -> None:
    loop(TWO_CALLS, 2, streamed=False)
    loop(TWO_CALLS, 2, streamed=True)


def structured() -> None:
    said = json.dumps(REPORT)
    parsed = parsing.parse(**asked(said), response_format=Report).choices[0].message.parsed
    equal(parsed, Report(**REPORT))
    with parsing.stream(**asked(said), response_format=Report) as events:
        equal(events.get_final_completion().choices[0].message.parsed, Report(**REPORT))


def reasoning() -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    request = asked({"reasoning": "Let me see.", "text": ANSWER})
    message = completions.create(**request, extra_body=thinking).choices[0].message
    equal((message.reasoning_content, message.content), ("Let me see.", ANSWER))


def usage() -> None:
    counted = completions.create(**asked(ANSWER)).usage
    equal(counted.total_tokens, counted.prompt_tokens + counted.completion_tokens)
    streamed = completions.create(**asked(ANSWER), stream=True, stream_options={"include_usage": True})
    equal([chunk.usage for chunk in streamed][-1], counted)


def cancel() -> None:
    with refusing.chat.completions.create(**asked({"endless": True}), stream=True) as chunks:
        next(iter(chunks))
    wait_until_idle()


def real() -> None:
    message = parsing.parse(**asked(), response_format=Report, **BRIEFLY).choices[0].message
    holds(isinstance(message.parsed, Report), f"no report: {message}")
    message = (
        parsing.parse(**asked(), tools=TOOLS, tool_choice="required", parallel_tool_calls=False, **BRIEFLY)
        .choices[0]
        .message
    )
    holds(isinstance(message.tool_calls[0].function.parsed_arguments, weather), f"no call: {message}")


def ask(prompt: str, key: str = KEY, model: str = MODEL, temperature: float = 1) -> None:
    refusing.with_options(api_key=key).chat.completions.create(
        model=model, messages=[{"role": "user", "content": prompt}], temperature=temperature
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
