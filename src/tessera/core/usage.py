"""Counts of tokens, as they are shown to the client and billed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """`cached_tokens` are part of `prompt_tokens`; `reasoning_tokens` are part of `completion_tokens`."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens
