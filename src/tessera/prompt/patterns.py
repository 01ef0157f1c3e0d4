r"""Regular expressions of schemas, rewritten into the one form that grammars take.

JSON Schema means ECMAScript's expressions: unanchored, `\d` and `\w` ASCII, `\s` all white space, and the
lenient spellings of its annex B. They are rewritten so that the whole text must match, in the syntax that
llguidance and Rust share. Classes lose the control characters that replies do not hold: llguidance would
write others in their place.

An expression that is well-formed and cannot be followed by a linear automaton (look-around, back-references,
`\b`, inner anchors) is `Unsupported`; one that ECMAScript does not know either is `Malformed`. What a
well-formed expression costs is not judged here: the grammar that holds it is tried before it is used.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

MAX_CHARACTERS = 4_096
_MAX_REPEATED = 100_000
_MAX_DEPTH = 50

_SPACE = r"\t\n\x0b\f\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}"
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": _SPACE}
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_NO_IDENTITY = frozenset("bBcdDfkknpPrsStuvwWx0123456789")
_ANY_TEXT = "(?s:.*)"
_CONTROLS = r"\x00-\x07\x0b\x0e-\x1f\x7f"
# The general categories, which Rust and ECMAScript name alike; scripts and other properties differ.
_CATEGORY = re.compile(r"\{(?:[LMNPSZC]|L[ultmo]|M[nce]|N[dlo]|P[cdseifo]|S[mcko]|Z[slp]|C[cfn])\}")
_COUNT = re.compile(r"\{(\d+)(,(\d*))?\}")
_GROUP = re.compile(r"(?P<name>P?<[A-Za-z_$][\w$]*>)|<?[=!]|(?P<flags>[a-zA-Z-]+[:)])")
_HEX = re.compile(r"[0-9A-Fa-f]+")
UNWRITABLE = re.compile(f"[{_CONTROLS}]")
"""What a reply's JSON cannot hold: it has `\\n` and its like, and no `\\u0001`."""
CONTROL = "a control character that replies do not hold"


class Unsupported(ValueError):
    """Well-formed, and nothing that a grammar can hold."""


class Malformed(ValueError):
    """Not a regular expression."""


def full_match(pattern: str) -> str:
    """The expression that matches a whole text where `pattern` matches somewhere in it.

    Raises `Unsupported` and `Malformed`.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise Unsupported(f"longer than {MAX_CHARACTERS} characters")
    reader = _Reader(pattern)
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
    """A way in which a part can match. It `starts` where the text does (`^`), and `ends` there (`$`)."""

    text: str = ""
    starts: bool = False
    ends: bool = False

    @property
    def anchored(self) -> bool:
        return self.starts or self.ends


@dataclass(frozen=True, slots=True)
class _Item:
    """A member of a class, or a class by itself. `code` is that of a single character; `writable` says that
    replies can hold all of it.
    """

    text: str
    code: int | None = None
    writable: bool = True

    @property
    def is_control(self) -> bool:
        """Whether it is one character, which replies do not hold."""
        return self.code is not None and not self.writable


class _Reader:
    """Recursive descent over the pattern; its depth is bounded. `unsupported` is the first thing that no
    grammar can hold: reading goes on, for the rest may be malformed.
    """

    def __init__(self, pattern: str) -> None:
        self.rest = pattern
        self.unsupported = ""
        self._depth = 0

    def _cannot_hold(self, what: str) -> _Variant:
        self.unsupported = self.unsupported or what
        return _Variant()

    def take(self, *tokens: str) -> str:
        """Steps over the first of `tokens` that is next, and returns it; "" if none is."""
        for token in tokens:
            if self.rest.startswith(token):
                self.rest = self.rest[len(token) :]
                return token
        return ""

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
        """An anchor may stand before the first part, after the last, and inside either."""
        starts = ends = False
        parts: list[list[_Variant]] = []
        while self.rest and self.rest[0] not in "|)":
            if self.take("^"):
                if any(not _is_empty(part) for part in parts):
                    self._cannot_hold("`^` inside the pattern")
                starts = True
            elif self.take("$"):
                ends = True
            else:
                part = self._repeat(self._atom())
                if ends and not _is_empty(part):
                    self._cannot_hold("`$` inside the pattern")
                parts.append(part)
        return [
            _Variant(each.text, each.starts or starts, each.ends or ends) for each in self._in_a_row(parts)
        ]

    def _atom(self) -> list[_Variant]:
        if self.take("("):
            return self._group()
        if self.take("["):
            return [self._class()]
        if self.take("."):
            return [_Variant(rf"[^\n{_CONTROLS}]")]
        if self.take("\\"):
            return [self._alone(self._escape(in_class=False))]
        character, self.rest = self.rest[0], self.rest[1:]
        if character in "*+?":
            raise Malformed(f"nothing before `{character}`")
        return [self._alone(_single(character))]

    def _alone(self, item: _Item) -> _Variant:
        """The expression of an item outside of a class."""
        if item.is_control:
            return self._cannot_hold(CONTROL)
        if item.writable:
            return _Variant(item.text)
        if item.text.startswith("[^"):
            return _Variant(f"{item.text[:-1]}{_CONTROLS}]")
        return _Variant(f"[{item.text}&&[^{_CONTROLS}]]")

    def _group(self) -> list[_Variant]:
        if self._depth == _MAX_DEPTH:
            raise Unsupported(f"groups nested deeper than {_MAX_DEPTH}")
        if self.take("?") and not self.take(":"):
            special = _GROUP.match(self.rest)
            if not special:
                raise Malformed("a `(?` that opens no group")
            self.rest = self.rest[special.end() :]
            if not special["name"]:
                self._cannot_hold("look-around or flags")
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
        self.take("?")  # which match is found first does not matter here
        if self.rest[:1] in ("*", "+") or _COUNT.match(self.rest):
            raise Malformed("a repeat of a repeat without a group")
        if any(each.anchored for each in part):
            if text != "?":
                self._cannot_hold("a repeated anchor")
            return [*part, _Variant()]
        return [_Variant(part[0].text + text)]

    def _count(self) -> str:
        if simple := self.take("*", "+", "?"):
            return simple
        count = _COUNT.match(self.rest)
        if not count:  # annex B: a brace that is no count is a character
            return ""
        self.rest = self.rest[count.end() :]
        least, most = int(count[1]), int(count[3] or 0)
        if max(least, most) > _MAX_REPEATED:
            self._cannot_hold(f"a repeat of more than {_MAX_REPEATED}")
        if count[3] and most < least:
            raise Malformed("a count that ends before it begins")
        return count[0]

    def _class(self) -> _Variant:
        negated = bool(self.take("^"))
        items: list[_Item] = []
        while not self.take("]"):
            if not self.rest:
                raise Malformed("a `[` that is not closed")
            low = self._class_item()
            if self.rest[:1] == "-" and self.rest[1:2] not in ("", "]"):
                self.take("-")
                items += _range(low, self._class_item())
            else:
                items.append(low)
        if not items and not negated:
            return self._cannot_hold("an empty class, which nothing matches")
        text = "".join(item.text for item in items)
        if negated:
            return _Variant(f"[^{text}{_CONTROLS}]")
        if all(item.is_control for item in items):
            return self._cannot_hold(CONTROL)
        writable = all(item.writable for item in items)
        return _Variant(f"[{text}]" if writable else f"[[{text}]&&[^{_CONTROLS}]]")

    def _class_item(self) -> _Item:
        if self.take("\\"):
            return self._escape(in_class=True)
        character, self.rest = self.rest[:1], self.rest[1:]
        return _single(character)

    def _escape(self, *, in_class: bool) -> _Item:
        character, self.rest = self.rest[:1], self.rest[1:]
        if not character:
            raise Malformed("a `\\` at the end")
        if members := _CLASSES.get(character.lower()):
            if character.isupper():
                return _Item(f"[^{members}]", writable=False)
            return _Item(members if in_class else f"[{members}]", writable=character != "s")
        if character in "pP" and (category := _CATEGORY.match(self.rest)):
            self.rest = self.rest[category.end() :]
            return _Item(f"\\{character}{category[0]}", writable=False)
        if in_class and character == "b":
            return _single("\b")
        return _single(self._character(character))

    def _character(self, character: str) -> str:
        """The one character that an escape stands for."""
        if character in "xu":
            return self._code(4 if character == "u" else 2, character)
        if (named := _LETTERS.get(character)) and not (character == "0" and self.rest[:1].isdigit()):
            return named
        if character not in _NO_IDENTITY:
            return character
        self._cannot_hold(f"`\\{character}`")
        return character

    def _code(self, digits: int, character: str) -> str:
        code = _HEX.match(self.rest[:digits])
        if not code or len(code[0]) < digits:
            braced = re.match(r"\{([0-9A-Fa-f]{1,6})\}", self.rest) if character == "u" else None
            if not braced or int(braced[1], 16) > 0x10FFFF:
                self._cannot_hold(f"a character code of fewer than {digits} digits")
                return character
            code = braced
        self.rest = self.rest[code.end() :]
        number = int(code[0].strip("{}"), 16)
        if 0xD800 <= number < 0xE000:
            self._cannot_hold("a surrogate")
            return character
        return chr(number)

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
            self._cannot_hold("an anchor inside the pattern")
        between = "".join(part[0].text for part in middle)
        return [
            _Variant(a.text + between + b.text, a.starts or b.starts, a.ends or b.ends)
            for a, b in product(first, last)
        ]


def _is_empty(part: list[_Variant]) -> bool:
    return part == [_Variant()]


def _single(character: str) -> _Item:
    """A character by itself, in or out of a class."""
    plain = character.isalnum() and character.isascii()
    text = character if plain else f"\\u{{{ord(character):x}}}"
    return _Item(text, ord(character), writable=not UNWRITABLE.match(character))


def _range(low: _Item, high: _Item) -> list[_Item]:
    if low.code is None or high.code is None:  # annex B: beside a class such as `\w` it is a character
        return [low, _single("-"), high]
    if high.code < low.code:
        raise Malformed("a range that ends before it begins")
    writable = low.code >= 0x20 and not low.code <= 0x7F <= high.code
    return [_Item(f"{low.text}-{high.text}", writable=writable or (low.writable and low == high))]
