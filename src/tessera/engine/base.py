"""What every engine is: tokens in, tokens out.

The contract, which `tests/conformance/engines` holds every implementation to:

- `generate` yields the chunks of all `sampling.n` sequences as they are made and ends after the last one's
  finish.
- Every sequence ends with exactly one chunk whose `finish` is set. A stop token is reported, and nothing
  after it.
- Closing the generator at any moment, before the first chunk too, aborts the work within one engine step and
  frees everything it held.
- The same prompt, sampling and seed give the same tokens. An engine for which that costs much may promise
  it in a mode only.
- If one generation fails, its generator alone raises `GenerationFailed`. If the engine dies, all generators
  that have begun raise `EngineUnavailable`; the others may wait until it is ready again. Once the engine is
  closed, all of them raise `EngineUnavailable`.
- What an engine cannot do is not in `info.features`, and callers do not ask for it.
"""

from collections.abc import AsyncGenerator
from typing import Protocol

from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk


class Engine(Protocol):
    """Something that continues token sequences."""

    @property
    def info(self) -> EngineInfo:
        """What is served, and what the engine can do."""
        ...

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[TokenChunk]:
        """Continues the prompt; raises `EngineError`s. The caller sees to it that the prompt and `max_tokens`
        fit the context together.
        """
        ...

    async def start(self) -> None:
        """Returns when the engine is ready. A generation that is asked for earlier may wait until then.

        Called at most once, in the event loop of the generations. Raises `EngineUnavailable` if the engine
        cannot start or is closed before it is ready.
        """
        ...

    def unready(self) -> str | None:
        """None while the engine can generate, else a reason such as `engine_starting` or `engine_dead`."""
        ...

    async def aclose(self) -> None:
        """Ends all generations and frees everything. Safe to call twice."""
        ...
