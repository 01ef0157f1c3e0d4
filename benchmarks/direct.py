"""The CPU engine without HTTP, parser and server: what a server in front of it has to be measured against.

Requests are decoded and compiled before the clock starts. What remains is the engine's process and the client
that the service uses too.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from tessera.bench.sample import Failure, Outcome, Sample
from tessera.catalog import Model
from tessera.core.chat import Caller
from tessera.engine.host.private import PrivateEngine
from tessera.errors import TesseraError
from tessera.models.progress import Quiet
from tessera.prompt.compile import compile_prompt
from tessera.server.models import private_model
from tessera.settings import Settings
from tessera.wire.decode import decode_request


@dataclass(frozen=True, slots=True)
class Generated:
    """A generation: when each chunk came, by `time.perf_counter`, and the total of its tokens."""

    begun: float
    times: tuple[float, ...]
    n_tokens: int
    n_prompt_tokens: int
    ended: float
    problem: str = ""

    @property
    def failed(self) -> bool:
        """Whether the generation was cut short."""
        return bool(self.problem)

    def outcome(self) -> Outcome:
        """The outcome, as if it had been a reply over HTTP; the engine's own count of tokens is used."""
        if self.problem:
            return Failure(self.problem, self.problem)
        times_s = tuple(at - self.begun for at in self.times)
        return Sample(times_s, self.ended - self.begun, self.n_tokens, "usage", self.n_prompt_tokens)


@dataclass(frozen=True, slots=True)
class Direct:
    """An engine without a server. It takes the same request bodies as a server does."""

    name: str
    model: Model

    async def prepare(
        self, body: Mapping[str, object], deadline_s: float
    ) -> Callable[[], Awaitable[Generated]]:
        """Compiles the request. Awaiting what the result returns generates the reply."""
        request, _ = decode_request(json.dumps(body).encode())
        compiled = await compile_prompt(request, self.model, Caller())

        async def ask() -> Generated:
            times, n_tokens, problem, begun = list[float](), 0, "", time.perf_counter()
            try:
                chunks = self.model.engine.generate(compiled.prompt, compiled.sampling)
                async with asyncio.timeout(deadline_s), aclosing(chunks):
                    async for chunk in chunks:
                        times.append(time.perf_counter())
                        n_tokens += len(chunk.token_ids)
            except (TesseraError, TimeoutError) as error:
                problem = type(error).__name__
            n_prompt_tokens = len(compiled.prompt.token_ids)
            return Generated(begun, tuple(times), n_tokens, n_prompt_tokens, time.perf_counter(), problem)

        return ask


@asynccontextmanager
async def direct(name: str) -> AsyncGenerator[Direct]:
    """The engine in a process of its own, with the default settings of `tessera serve`."""
    model = private_model(Settings(), Quiet())
    assert isinstance(model.engine, PrivateEngine), "the default settings serve with the CPU engine"
    try:
        await model.engine.start()
        yield Direct(name, model)
    finally:
        await model.aclose()
