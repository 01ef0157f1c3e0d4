"""What every engine is: tokens in, tokens out.

The contract, which `tests/conformance/engines` holds every implementation to:

- `generate` yields the chunks of all `sampling.n` sequences as they are made and ends after the last one's
  finish.
- Every sequence ends with exactly one chunk whose `finish` is set. A stop token is reported, and nothing
  after it.
- Closing the generator at any moment, before the first chunk too, aborts the work within one engine step and
  frees everything it held.
- The same prompt, sampling and seed give the same tokens.
- Failure of one generation is `GenerationFailed` from that generator alone. An engine that dies is
  `EngineUnavailable` from all that have begun; those that have not may wait until it is there again. A closed
  engine is `EngineUnavailable` from all.
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
        """Continue the prompt; raises `EngineError`s. Lengths are the caller's duty: prompt + max_tokens ≤
        context.
        """
        ...

    def unready(self) -> str | None:
        """None while tokens can flow, else a reason code such as `engine_starting` or `engine_dead`."""
        ...

    async def aclose(self) -> None:
        """End all generations and free everything. Safe to call twice."""
        ...
