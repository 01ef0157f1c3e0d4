"""The counts of a reply while it is being made: right at every moment, also when it is cut short."""

from dataclasses import dataclass, field

from tessera.core.events import FinishReason
from tessera.core.usage import Usage


@dataclass(slots=True)
class Tally:
    """Tokens so far, and the reasons of the choices that have ended; what they mean is in `Usage`."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    finished: dict[int, FinishReason] = field(default_factory=dict[int, FinishReason])

    @property
    def usage(self) -> Usage:
        return Usage(self.prompt_tokens, self.cached_tokens, self.completion_tokens, self.reasoning_tokens)
