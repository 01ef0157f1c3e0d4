"""The words of a grammar: literal text in it that a reply may have to contain.

Where any text may stand, a search cannot see that only `.csv` leads to the end; but the pattern that demands
`.csv` spells it out.
"""

import json
import re
from collections.abc import Iterator

_MOST_WORDS = 64
_MOST_CHARACTERS = 40
_SUFFIX = re.compile(r'\[suffix=("(?:[^"\\\n]|\\.)*")')
# A pattern stands between slashes in a terminal, and as a string under the keyword `pattern` in a schema.
_PATTERNS = re.compile(r'/((?:[^/\\\n]|\\.)+)/|"pattern": "((?:[^"\\]|\\.)+)"')
_CODE_POINT = re.compile(r"\\+u\{([0-9a-fA-F]{1,6})\}|\\+x([0-9a-fA-F]{2})")
_NO_TEXT = re.compile(r"\[(?:[^\]\\]|\\.)*\]|\{[0-9,]*\}|\(\?[a-z]*:|\\+[A-Za-z]")
_RUN = re.compile(r"(?:\\+[^\w\s\\]|[^\s.\\|()\[\]{}?*+^$\"])+")


def words_of(lark: str) -> list[str]:
    """At most 64 words: first the ends of texts, then what patterns spell out."""
    words = dict.fromkeys(word for word in _words(lark) if len(word) <= _MOST_CHARACTERS)
    return [*words][:_MOST_WORDS]


def _words(lark: str) -> Iterator[str]:
    yield from map(json.loads, _SUFFIX.findall(lark))
    for in_terminal, in_schema in _PATTERNS.findall(lark):
        pattern = _NO_TEXT.sub(" ", _CODE_POINT.sub(_escaped, in_terminal or in_schema))
        for run in _RUN.findall(pattern):
            yield re.sub(r"\\+", "", run)


def _escaped(found: re.Match[str]) -> str:
    code_point = int(found[1] or found[2], 16)
    return "\\" + chr(code_point) if 32 < code_point <= 0x10FFFF else " "
