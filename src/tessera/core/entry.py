"""What is written down of a request: whose it was, what it took, how it ended. Nothing of what was said."""

from dataclasses import dataclass, field

from tessera.core.usage import Usage

OPEN = "open"
"""The `finish` of a request that is still being answered."""

INTERRUPTED = "interrupted"
"""The `finish` of a request whose server went away; its counts are the last that were written down."""

FINISHED = ("stop", "length", "tool_calls")
"""What a whole reply finishes with; anything else is an error's code."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `id` is that of the reply, and no two entries have the same. `begun_s` is Unix time; the
    other times are seconds since then, None for what did not happen.
    """

    id: str
    account: str
    key_id: str
    model: str
    mode: str
    streamed: bool
    begun_s: float
    usage: Usage = field(default_factory=Usage)
    finish: str = OPEN
    waited_s: float | None = None
    first_token_s: float | None = None
    whole_s: float | None = None
