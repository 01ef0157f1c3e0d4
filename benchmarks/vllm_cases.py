"""What servers return for requests with tools and schemas, by the rules of the live tests.

| verdict | meaning |
|---|---|
| valid | every call and answer fits its schema, and is of the kind that was asked for |
| cut | the token limit ended it; what was whole by then is valid |
| invalid | a call or an answer breaks its schema, or is not of the kind that was asked for |
| refused | the server answered with an error of the client's |
| lost | no whole reply: the server failed, or no reply came in time |
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import openai
from benchmarks.servers import Target
from tests.live.test_guarantee import Asked, ask, ask_for_calls, ask_for_json, check

_VERDICTS = ("valid", "cut", "invalid", "refused", "lost")
_AT_ONCE = 8
_REPLY_S = 600
_REASON_CHARACTERS = 120
# Reasoning is left out: vLLM's server bounds it only if it was started for that.
_DIRECT = {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}}


_Verdicts: TypeAlias = Counter[tuple[str, str]]
"""How often there was a verdict, with its reason."""


async def judge(targets: Mapping[str, Target], n_cases: int) -> None:
    """Prints a table with a row for each server, and the reasons of what is not valid."""
    cases = [ask_for_calls(seed) if seed % 2 else ask_for_json(10_000 + seed) for seed in range(n_cases)]
    print("| server | " + " | ".join(_VERDICTS) + " |")
    print("|---" * (len(_VERDICTS) + 1) + "|")
    reasons: list[str] = []
    for name, target in targets.items():
        found = await _verdicts(target, cases)
        counts = Counter[str]()
        for (verdict, reason), n in found.most_common():
            counts[verdict] += n
            if reason:
                reasons.append(f"{name}: {n} {verdict}: {reason}")
        print(f"| {name} | " + " | ".join(str(counts[verdict]) for verdict in _VERDICTS) + " |", flush=True)
    print("", *reasons, sep="\n")


async def _verdicts(target: Target, cases: list[Asked]) -> _Verdicts:
    gate = asyncio.Semaphore(_AT_ONCE)
    found: _Verdicts = Counter()
    async with openai.AsyncOpenAI(
        api_key=target.api_key or "none", base_url=f"{target.url}/v1", max_retries=0, timeout=_REPLY_S
    ) as client:
        model = (await client.models.list()).data[0].id

        async def one(asked: Asked) -> None:
            async with gate:
                found[
                    await _verdict(client, replace(asked, body=asked.body | _DIRECT | {"model": model}))
                ] += 1

        await asyncio.gather(*map(one, cases))
    return found


async def _verdict(client: openai.AsyncOpenAI, asked: Asked) -> tuple[str, str]:
    try:
        choices, _ = await ask(client, asked)
    except openai.APIStatusError as error:
        return "refused" if error.status_code < 500 else "lost", _brief(error)
    except openai.APIError as error:
        return "lost", _brief(error)
    except (AssertionError, IndexError) as error:
        return "invalid", f"the stream contradicts itself: {_brief(error)}"
    try:
        for said in choices:
            check(asked, said)
    except Exception as error:  # whatever a judge stumbles over is no valid reply
        return "invalid", _brief(error)
    return "cut" if any(said.finish == "length" for said in choices) else "valid", ""


def _brief(error: Exception) -> str:
    """The kind of the error, and how its message begins."""
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__} {first[:_REASON_CHARACTERS]}".strip()
