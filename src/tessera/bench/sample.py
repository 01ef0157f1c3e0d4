"""The outcome of one request: a sample or a failure."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

Counted = Literal["usage", "events"]


@dataclass(frozen=True, slots=True)
class Sample:
    """A reply that ended well. Times are seconds since the request was sent.

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
        """The time of the first event with content; None for an empty reply."""
        return self.times_s[0] if self.times_s else None

    @property
    def per_token_s(self) -> float | None:
        """The mean time between two tokens; None if there are fewer than two."""
        if self.n_tokens < 2 or not self.times_s:
            return None
        return (self.times_s[-1] - self.times_s[0]) / (self.n_tokens - 1)

    @property
    def gaps_s(self) -> list[float]:
        """The times between consecutive events."""
        return [later - earlier for earlier, later in pairwise(self.times_s)]


@dataclass(frozen=True, slots=True)
class Failure:
    """A reply that did not arrive, or not completely. `reason` is a short name that failures are grouped by;
    `status` is None if there was no response.
    """

    reason: str
    message: str
    status: int | None = None

    @property
    def refused(self) -> bool:
        """Whether the server does not support the request, so that sending it again is useless."""
        return self.status in (400, 404, 405, 415, 422, 501)


Outcome: TypeAlias = Sample | Failure
