"""What structured output costs: tokens per second with a JSON Schema against free text, and the first token.

The whole way but HTTP: the request is compiled (schema checked, grammar tried, prompt encoded) and the CPU
engine continues it. `benchmarks/README.md` tells how.
"""

import argparse
import asyncio
import json
import math
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import median

from tessera.catalog import Model
from tessera.core.chat import (
    Caller,
    ChatRequest,
    FreeText,
    JsonObject,
    JsonSchema,
    SamplingOptions,
    UserMessage,
)
from tessera.core.generation import TokenChunk
from tessera.models.progress import Quiet
from tessera.prompt.compile import compile_prompt
from tessera.server.models import private_model
from tessera.settings import Settings

SCHEMAS: dict[str, JsonObject] = json.loads(Path(__file__).with_name("schemas.json").read_text())
_NUMBERS = count()


def ask(name: str, *, free: bool, number: int) -> ChatRequest:
    """A request whose prompt and schema no cache knows. Free text has the same prompt."""
    subject = name.replace("_", " ")
    text = f"Case {number}. Invent {subject} and write all of it down as one JSON object with many details."
    return ChatRequest(
        (UserMessage(text),),
        answer_format=FreeText() if free else JsonSchema(name, SCHEMAS[name], strict=True),
        sampling=SamplingOptions(temperature=0.7, seed=number),
        max_output_tokens=256,
    )


@dataclass(slots=True)
class Tally:
    """Counts what arrives during `window_s`, from the moment when every stream has begun."""

    n_waiting: int
    window_s: float
    ends_s: float = math.inf
    n_tokens: int = 0
    n_chunks: int = 0
    n_replies: int = 0

    @property
    def over(self) -> bool:
        """Whether the window is over."""
        return time.perf_counter() >= self.ends_s

    def began(self) -> None:
        """Notes that one more stream has its first token."""
        self.n_waiting -= 1
        if not self.n_waiting:
            self.ends_s = time.perf_counter() + self.window_s

    def add(self, chunk: TokenChunk) -> None:
        """Counts the chunk if the window is open."""
        if self.ends_s < math.inf and not self.over:
            self.n_tokens += len(chunk.token_ids)
            self.n_chunks += 1
            self.n_replies += chunk.finish is not None


async def reply(model: Model, request: ChatRequest) -> AsyncGenerator[TokenChunk]:
    """Yields the chunks of one reply."""
    compiled = await compile_prompt(request, model, Caller())
    async with aclosing(model.engine.generate(compiled.prompt, compiled.sampling)) as chunks:
        async for chunk in chunks:
            yield chunk


async def throughput(model: Model, streams: int, window_s: float, *, free: bool) -> Tally:
    """The tokens per second of streams that are never idle: each asks again as soon as its reply ends."""
    tally = Tally(streams, window_s)

    async def stream(index: int) -> None:
        names, begun = [*SCHEMAS], False
        for turn in count(index):
            request = ask(names[turn % len(names)], free=free, number=next(_NUMBERS))
            async with aclosing(reply(model, request)) as chunks:
                async for chunk in chunks:
                    if not begun:
                        tally.began()
                        begun = True
                    tally.add(chunk)
                    if tally.over:
                        return

    await asyncio.gather(*map(stream, range(streams)))
    return tally


async def first_token_s(model: Model, request: ChatRequest) -> float:
    """The seconds to the first token of a request that is alone on the engine."""
    started = time.perf_counter()
    async with aclosing(reply(model, request)) as chunks:
        await anext(chunks)
    return time.perf_counter() - started


def never_seen(request: ChatRequest) -> ChatRequest:
    """The same request with a schema of its own, which no cache knows. Free text stays as it is."""
    form = request.answer_format
    if not isinstance(form, JsonSchema):
        return request
    assert isinstance(form.schema, dict)
    name = f"note_{next(_NUMBERS)}"
    known = form.schema["properties"]
    assert isinstance(known, dict)
    properties = {**known, name: {"type": "string"}}
    return replace(request, answer_format=replace(form, schema={**form.schema, "properties": properties}))


async def latencies(model: Model, rounds: int) -> dict[str, list[float]]:
    """The seconds to the first token of free text, of a known schema and of a new one, in turns."""
    taken: dict[str, list[float]] = {"free text": [], "known schema": [], "new schema": []}
    for _ in range(rounds):
        for name in SCHEMAS:
            free, known, new = (ask(name, free=i == 0, number=next(_NUMBERS)) for i in range(3))
            for kind, request in zip(taken, (free, known, never_seen(new)), strict=True):
                taken[kind].append(await first_token_s(model, request))
    return taken


@asynccontextmanager
async def serving() -> AsyncGenerator[Model]:
    """The embedded model with the default settings of `tessera serve`."""
    model = private_model(Settings(), Quiet())
    await model.engine.start()
    try:
        yield model
    finally:
        await model.aclose()


async def measure(streams: int, rounds: int, window_s: float) -> None:
    """Both measurements, in which free text and schemas take turns."""
    async with serving() as model:
        for free in (True, False):
            for name in SCHEMAS:
                await first_token_s(model, ask(name, free=free, number=next(_NUMBERS)))
        for kind, taken in (await latencies(model, 2 * rounds)).items():
            print(f"{kind}: first token after {median(taken) * 1e3:.1f} ms, least {min(taken) * 1e3:.1f}")
        ratios: list[float] = []
        for _ in range(rounds):
            tallies = [await throughput(model, streams, window_s, free=free) for free in (True, False)]
            ratios.append(tallies[1].n_tokens / tallies[0].n_tokens)
            for kind, tally in zip(("free", "schema"), tallies, strict=True):
                print(
                    f"{kind}: {tally.n_tokens / window_s:.0f} tokens/s, "
                    f"{tally.n_tokens / tally.n_chunks:.2f} per step, {tally.n_replies} replies ended",
                    flush=True,
                )
        print(f"schema ÷ free: {median(ratios):.2f} ({', '.join(f'{ratio:.2f}' for ratio in ratios)})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.structured", description=__doc__)
    parser.add_argument("--streams", type=int, default=16, choices=range(1, 33), metavar="N")
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 21), metavar="N")
    parser.add_argument("--window", type=float, default=8.0, metavar="SECONDS")
    chosen = parser.parse_args()
    asyncio.run(measure(chosen.streams, chosen.rounds, chosen.window))


if __name__ == "__main__":
    main()
