"""Regular expressions of clients that are safe to run in the event loop.

Python's `re` tries all ways to match. There are few of them in a short text if no group is repeated and there
are few repetitions and alternatives. This is another question than that of `patterns`, which rewrites any
expression for an automaton: here a pattern is only searched for, or not decided.
"""

import re

_LONGEST_PATTERN = 200
_LONGEST_TEXT = 48
_MOST_BARS = 8
_TOKEN = re.compile(
    r"(?P<repetition>(?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??)"
    r"|(?P<group>\((?:\?:)?|\))|(?P<bar>\|)"
    r"|(?P<plain>[^\\\[\](){}*+?|]|\\[dDwWsS.\\/\-$^|()\[\]{}*+?]|\[\^?[^\\\[\]^&~|-](?:[^\\\[\]&~|]*)\])"
)


def finds(pattern: str, text: str) -> bool | None:
    """Whether the pattern occurs in the text; None if that may take long to find out."""
    if len(pattern) > _LONGEST_PATTERN or len(text) > _LONGEST_TEXT or not _is_simple(pattern):
        return None
    try:
        return re.search(pattern, text, re.ASCII) is not None
    except re.error:
        return None


def _is_simple(pattern: str) -> bool:
    kinds: list[str | None] = []
    at = 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            return False
        is_repeated_group = token.lastgroup == "repetition" and kinds[-1:] == ["group"]
        if is_repeated_group:
            return False
        kinds.append(token.lastgroup)
        at = token.end()
    n_bars = kinds.count("bar")
    n_repetitions = kinds.count("repetition")
    return n_bars <= _MOST_BARS and n_repetitions <= (1 if n_bars else 2)
