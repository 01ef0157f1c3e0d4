"""What a process is asked for a reply that a grammar admits, and its answer."""

import msgspec


class Vocabulary(msgspec.Struct):
    """The set-up: which ids are taken by control tokens, and how many ids there are."""

    control_tokens: dict[str, int]
    size: int


class ReplySearch(msgspec.Struct):
    """The arguments of `ShortestReplies.complete`."""

    lark: str
    parts: list[list[int]]
    whole: bool


class Found(msgspec.Struct):
    """How many parts fit and what completes them, or why no end was found."""

    n_fitting: int
    rest: list[int]
    problem: str | None = None
