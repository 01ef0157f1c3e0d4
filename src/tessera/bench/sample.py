"""What became of one request: a sample, or a failure."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

Counted = Literal["usage", "events"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A reply that ended well. Times are seconds since the request was begun.

    `times_s` has an entry for each event with text, reasoning or a part of a call. `counted_by` says whether
    `n_tokens` is the server's own count or that of such events.
    """

    times_s: tuple[float, ...]
    total_s: float
    n_tokens: int
    counted_by: Counted
    n_prompt_tokens: int | None = None

    @property
    def first_s(self) -> float | None:
        """Until the first event with something in it; None for an empty reply."""
        return self.times_s[0] if self.times_s else None

    @property
    def per_token_s(self) -> float | None:
        """Between two tokens, on average; None if there were no two."""
        if self.n_tokens < 2 or not self.times_s:
            return None
        return (self.times_s[-1] - self.times_s[0]) / (self.n_tokens - 1)

    @property
    def gaps_s(self) -> list[float]:
        """Between each event and the next."""
        return [later - earlier for earlier, later in pairwise(self.times_s)]


@dataclass(frozen=True, slots=True)
class Failure:
    """A reply that did not come, or not to its end. `reason` is short and the same for all of its kind.

    `status` is that of the response, None if there was none.
    """

    reason: str
    message: str
    status: int | None = None

    @property
    def refused(self) -> bool:
        """The server does not do what was asked, and would not the next time either."""
        return self.status in (400, 404, 405, 415, 422, 501)


Outcome: TypeAlias = Sample | Failure
