r"""Regular expressions of schemas, rewritten into the one form that grammars take.

JSON Schema means ECMAScript's expressions: unanchored, `\d` and `\w` ASCII, `\s` all white space, and the
lenient spellings of its annex B. Of what only other languages know, the anchors `\A`, `\z` and `\Z` are read
as these mean it.

They are rewritten so that the whole text must match, in the syntax that llguidance and Rust share. Classes
lose the control characters that replies cannot contain: llguidance would write others in their place.

A well-formed expression that no linear automaton can follow (look-around, back-references, `\b`, inner
anchors) is `Unsupported`; one that ECMAScript does not know either is `Malformed`. What an expression costs
is not judged here: a grammar is tried before it is used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from tessera.schemas.pattern_classes import CONTROLS, ClassReader, Malformed, single

MAX_CHARACTERS = 4_096
_MAX_REPEATED = 100_000
_MAX_DEPTH = 50

_ANY_TEXT = "(?s:.*)"
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")
_GROUP = re.compile(r"(?P<name>P?<[A-Za-z_$][\w$]*>)|<?[=!]|(?P<flags>[a-zA-Z-]+[:)])")


__all__ = ["Malformed", "Unsupported", "full_match"]


class Unsupported(ValueError):
    """Well-formed, but no grammar can follow it."""


def full_match(pattern: str, *, writable_only: bool = True) -> str:
    """The expression that matches the whole of every text in which `pattern` matches somewhere; of texts with
    control characters that replies cannot contain, only if not `writable_only`. It is then one of ECMAScript.

    Raises `Unsupported` and `Malformed`.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise Unsupported(f"longer than {MAX_CHARACTERS} characters")
    reader = _PatternReader(pattern, writable_only=writable_only)
    variants = reader.alternatives()
    if reader.rest:
        raise Malformed("an unbalanced `)`")
    if reader.unsupported:
        raise Unsupported(reader.unsupported)
    whole = [
        ("" if each.starts else _ANY_TEXT) + each.text + ("" if each.ends else _ANY_TEXT) for each in variants
    ]
    return f"(?:{'|'.join(whole)})"


@dataclass(frozen=True, slots=True)
class _Variant:
    """One way in which a part can match. `starts` anchors it to the start of the text (`^`), `ends` to its
    end (`$`).
    """

    text: str = ""
    starts: bool = False
    ends: bool = False

    @property
    def anchored(self) -> bool:
        return self.starts or self.ends


class _PatternReader(ClassReader):
    """Recursive descent over the pattern; its depth is bounded."""

    def __init__(self, pattern: str, *, writable_only: bool) -> None:
        super().__init__(pattern, writable_only=writable_only)
        self._depth = 0

    def alternatives(self) -> list[_Variant]:
        """The variants of sequences between `|`; those with the same anchors are joined."""
        found: dict[tuple[bool, bool], list[str]] = {}
        while True:
            for each in self._sequence():
                found.setdefault((each.starts, each.ends), []).append(each.text)
            if not self.take("|"):
                break
        return [
            _Variant(texts[0] if len(texts) == 1 else f"(?:{'|'.join(texts)})", starts, ends)
            for (starts, ends), texts in found.items()
        ]

    def _sequence(self) -> list[_Variant]:
        """Anchors may stand before the first part and after the last, or inside these two."""
        starts = False
        ends = False
        parts: list[list[_Variant]] = []
        while self.rest and self.rest[0] not in "|)":
            if self.take("^", r"\A"):
                if any(not _is_empty(part) for part in parts):
                    self.cannot_hold("`^` inside the pattern")
                starts = True
            elif self.take("$", r"\z", r"\Z"):
                ends = True
            else:
                part = self._repeat(self._atom())
                if ends and not _is_empty(part):
                    self.cannot_hold("`$` inside the pattern")
                parts.append(part)
        return [
            _Variant(each.text, each.starts or starts, each.ends or ends) for each in self._in_a_row(parts)
        ]

    def _atom(self) -> list[_Variant]:
        if self.take("("):
            return self._group()
        if self.take("["):
            return [_Variant(self.character_class())]
        if self.take("."):
            return [_Variant(rf"[^\n{CONTROLS}]" if self.writable_only else ".")]
        if self.take("\\"):
            return [_Variant(self.alone(self.escape(in_class=False)))]
        character = self.rest[0]
        self.rest = self.rest[1:]
        if character in "*+?":
            raise Malformed(f"nothing before `{character}`")
        return [_Variant(self.alone(single(character)))]

    def _group(self) -> list[_Variant]:
        if self._depth == _MAX_DEPTH:
            raise Unsupported(f"groups nested deeper than {_MAX_DEPTH}")
        if self.take("?") and not self.take(":"):
            special = _GROUP.match(self.rest)
            if not special:
                raise Malformed("a `(?` that opens no group")
            self.rest = self.rest[special.end() :]
            if not special["name"]:
                self.cannot_hold("look-around or flags")
                if special["flags"] and special[0].endswith(")"):
                    return [_Variant()]
        self._depth += 1
        variants = self.alternatives()
        self._depth -= 1
        if not self.take(")"):
            raise Malformed("a `(` that is not closed")
        return [_Variant(f"(?:{each.text})", each.starts, each.ends) for each in variants]

    def _repeat(self, part: list[_Variant]) -> list[_Variant]:
        text = self._count()
        if not text:
            return part
        self.take("?")  # lazy or greedy: the same texts match
        if self.rest[:1] in ("*", "+") or _COUNT.match(self.rest):
            raise Malformed("a repeat of a repeat without a group")
        if any(each.anchored for each in part):
            if text != "?":
                self.cannot_hold("a repeated anchor")
            return [*part, _Variant()]
        return [_Variant(part[0].text + text)]

    def _count(self) -> str:
        if simple := self.take("*", "+", "?"):
            return simple
        count = _COUNT.match(self.rest)
        if not count:  # annex B: a brace that begins no count is a character
            return ""
        self.rest = self.rest[count.end() :]
        least = int(count[1])
        most = int(count[3] or 0)
        if max(least, most) > _MAX_REPEATED:
            self.cannot_hold(f"a repeat of more than {_MAX_REPEATED}")
        if count[3] and most < least:
            raise Malformed("a count that ends before it begins")
        return count[0]

    def _in_a_row(self, parts: Sequence[list[_Variant]]) -> list[_Variant]:
        """The variants of parts one after the other; only the outer ones may have anchors."""
        if all(len(part) == 1 and not part[0].anchored for part in parts):
            return [_Variant("".join(part[0].text for part in parts))]
        *before, last = [part for part in parts if not _is_empty(part)] or [[_Variant()]]
        first, *middle = before or [[_Variant()]]
        inside = [each.anchored for part in middle for each in part]
        if before:
            inside += [each.ends for each in first] + [each.starts for each in last]
        if any(inside):
            self.cannot_hold("an anchor inside the pattern")
        between = "".join(part[0].text for part in middle)
        return [
            _Variant(a.text + between + b.text, a.starts or b.starts, a.ends or b.ends)
            for a, b in product(first, last)
        ]


def _is_empty(part: list[_Variant]) -> bool:
    return part == [_Variant()]
