r"""The regular expressions that schemas may hold, and the one form of them that grammars take.

JSON Schema means ECMAScript's: unanchored, `\d` and `\w` ASCII, `\s` all white space. They are rewritten so
that the whole text must match, in the syntax that llguidance and Rust share, and so that no class holds the
control characters that replies do not: llguidance would write others in their place. Three kinds are told
apart:

- fine: rewritten;
- `Unsupported`: a linear automaton cannot follow it (look-around, back-references, `\b`, inner anchors);
- `Hostile`: larger than the bounds, or so ambiguous (`(a+)+$`) that a client's backtracking engine, fed with
  the very reply it asked for, would take exponential time.
"""

import re

from tessera.prompt.ambiguity import Automaton, Hostile, Part

MAX_CHARACTERS = 256
MAX_REPEATED = 1_000
MAX_STATES = 2_000
_MAX_DEPTH = 20

_SPACE = r"\t\n\x0b\f\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}"
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": _SPACE}
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_REST = 1 << 128  # all characters beyond ASCII count as one: ambiguity is only over-estimated
_ALL = (1 << 129) - 1
_ANY_TEXT = "(?s:.*)"
_CONTROLS = r"\x00-\x07\x0b\x0e-\x1f\x7f"
UNWRITABLE = re.compile(f"[{_CONTROLS}]")
"""What a reply's JSON cannot hold: it has `\\n` and its like, and no `\\u0001`."""
CONTROL = "a control character that replies do not hold"
_WRITABLE = sum(1 << i for i in range(129) if not UNWRITABLE.match(chr(i)))


class Unsupported(ValueError):
    """Well-formed, perhaps, and nothing that a grammar can hold."""


def full_match(pattern: str) -> str:
    """The expression that matches a whole text where `pattern` matches somewhere in it.

    Raises `Unsupported` and `Hostile`.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise Hostile(f"longer than {MAX_CHARACTERS} characters")
    reader = _Reader(pattern)
    alternatives = [reader.anchored()]
    while reader.take("|"):
        alternatives.append(reader.anchored())
    if reader.rest:
        raise Unsupported("an unbalanced `)`")
    if reader.automaton.states > MAX_STATES:
        raise Hostile(f"more than {MAX_STATES} characters once its repeats are written out")
    reader.automaton.refuse_ambiguity()
    return f"(?:{'|'.join(alternatives)})"


class _Reader:
    """Recursive descent over the pattern; its depth is bounded."""

    def __init__(self, pattern: str) -> None:
        self.rest = pattern
        self.automaton = Automaton()
        self._depth = 0

    def take(self, *tokens: str) -> str:
        """Step over the first of `tokens` that is next, and say which it was."""
        for token in tokens:
            if self.rest.startswith(token):
                self.rest = self.rest[len(token) :]
                return token
        return ""

    def anchored(self) -> str:
        before = "" if self.take("^") else _ANY_TEXT
        part = self._sequence()
        self.automaton.states += part.states
        return before + part.text + ("" if self.take("$") else _ANY_TEXT)

    def _sequence(self) -> Part:
        parts: list[Part] = []
        while self.rest and self.rest[0] not in "|)" and not self._at_end_anchor():
            parts.append(self._repeat(self._atom()))
        return self.automaton.sequence(parts)

    def _at_end_anchor(self) -> bool:
        return self._depth == 0 and self.rest[0] == "$" and self.rest[1:2] in ("", "|")

    def _atom(self) -> Part:
        if self.take("("):
            return self._group()
        if self.take("["):
            return self._class()
        if self.take("."):
            return self._state(r"[^\n]", _ALL & ~(1 << 10))
        if self.take("\\"):
            return self._state(*self._escape(in_class=False))
        if (character := self.rest[0]) in "^$":
            raise Unsupported(f"`{character}` inside the pattern")
        if character in "*+?{":
            raise Unsupported(f"nothing before `{character}`")
        self.rest = self.rest[1:]
        return self._state(_quoted(character), _bit(character))

    def _state(self, text: str, symbol: int) -> Part:
        """One of the characters of `symbol`, which `text` matches, as far as replies can hold it."""
        if not symbol & _WRITABLE:
            raise Unsupported(CONTROL)
        if symbol & ~_WRITABLE:
            others = f"{text[:-1]}{_CONTROLS}]"
            text = others if text.startswith("[^") else f"[{text}&&[^{_CONTROLS}]]"
        return self.automaton.state(text, symbol)

    def _group(self) -> Part:
        if self._depth == _MAX_DEPTH:
            raise Hostile(f"groups nested deeper than {_MAX_DEPTH}")
        if self.take("?") and not self.take(":"):
            name, closed, self.rest = self.rest.partition(">")
            if not closed or not name.startswith("<") or not name[1:].isidentifier():
                raise Unsupported("look-around or flags")
        self._depth += 1
        parts = [self._sequence()]
        while self.take("|"):
            parts.append(self._sequence())
        self._depth -= 1
        if not self.take(")"):
            raise Unsupported("a `(` that is not closed")
        return Part(
            f"(?:{'|'.join(part.text for part in parts)})",
            frozenset[int]().union(*(part.first for part in parts)),
            frozenset[int]().union(*(part.last for part in parts)),
            any(part.nullable for part in parts),
            sum(part.states for part in parts),
        )

    def _repeat(self, atom: Part) -> Part:
        least, most, text = self._count()
        if not text:
            return atom
        if self.rest[:1] in ("*", "+", "{"):
            raise Unsupported("a repeat of a repeat without a group")
        self.take("?")  # which match is found first does not matter here
        return self.automaton.repeat(atom, text, least, most)

    def _count(self) -> tuple[int, int | None, str]:
        if simple := self.take("*", "+", "?"):
            return int(simple == "+"), 1 if simple == "?" else None, simple
        if not self.take("{"):
            return 1, 1, ""
        inside, closed, self.rest = self.rest.partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not _is_number(low) or (high and not _is_number(high)):
            raise Unsupported("a `{` that is not a count: write `\\{`")
        least, most = int(low), int(high) if high else None if comma else int(low)
        if max(least, most or 0) > MAX_REPEATED:
            raise Hostile(f"a repeat of more than {MAX_REPEATED}")
        if most is not None and most < least:
            raise Unsupported("a count that ends before it begins")
        return least, most, f"{{{inside}}}"

    def _class(self) -> Part:
        negated = bool(self.take("^"))
        items: list[tuple[str, int]] = []
        while not self.take("]"):
            if not self.rest:
                raise Unsupported("a `[` that is not closed")
            low = self._class_item()
            if self.rest[:1] == "-" and self.rest[1:2] not in ("", "]") and _is_single(low[1]):
                self.take("-")
                items.append(_range(low, self._class_item()))
            else:
                items.append(low)
        if not items:
            raise Unsupported("an empty class")
        symbol = 0
        for _, bits in items:
            # What `\p{…}` holds is not known: all, or, where it is taken away, nothing.
            symbol |= bits if not negated or bits != _ALL else 0
        text = "".join(item for item, _ in items)
        # Beyond ASCII a class and its complement are both taken to have something.
        symbol = (_ALL & ~symbol) | _REST if negated else symbol
        return self._state(f"[{'^' if negated else ''}{text}]", symbol)

    def _class_item(self) -> tuple[str, int]:
        if self.take("\\"):
            return self._escape(in_class=True)
        character, self.rest = self.rest[:1], self.rest[1:]
        return _quoted(character), _bit(character)

    def _escape(self, *, in_class: bool) -> tuple[str, int]:
        character, self.rest = self.rest[:1], self.rest[1:]
        if members := _CLASSES.get(character.lower()):
            negated = character.isupper()
            bits = sum(1 << i for i in range(128) if _in_class(chr(i), character.lower()))
            bits |= _REST if character.lower() == "s" else 0
            text = members if in_class and not negated else f"[{'^' if negated else ''}{members}]"
            return text, (_ALL & ~bits) | _REST if negated else bits
        if character in ("x", "u"):
            return self._code(4 if character == "u" else 2)
        if character in ("p", "P") and self.rest.startswith("{"):
            name, _, self.rest = self.rest[1:].partition("}")
            return f"\\{character}{{{name}}}", _ALL
        if (named := _LETTERS.get(character)) or (character and not character.isalnum()):
            single = named or character
            return _quoted(single), _bit(single)
        raise Unsupported(f"`\\{character}`")

    def _code(self, digits: int) -> tuple[str, int]:
        code, self.rest = self.rest[:digits], self.rest[digits:]
        if len(code) < digits or not all(c in "0123456789abcdefABCDEF" for c in code):
            raise Unsupported(f"a character code of fewer than {digits} digits")
        if 0xD800 <= int(code, 16) < 0xE000:
            raise Unsupported("a surrogate")
        return _quoted(chr(int(code, 16))), _bit(chr(int(code, 16)))


def _quoted(character: str) -> str:
    """A single character, in or out of a class."""
    return character if character.isalnum() and character.isascii() else f"\\u{{{ord(character):x}}}"


def _bit(character: str) -> int:
    return 1 << ord(character) if ord(character) < 128 else _REST


def _is_single(bits: int) -> bool:
    return bits.bit_count() == 1


def _range(low: tuple[str, int], high: tuple[str, int]) -> tuple[str, int]:
    if not _is_single(high[1]) or high[1] < low[1]:
        raise Unsupported("a range that ends before it begins")
    return f"{low[0]}-{high[0]}", (high[1] << 1) - low[1]


def _in_class(character: str, name: str) -> bool:
    match name:
        case "d":
            return character.isdigit()
        case "w":
            return character.isalnum() or character == "_"
        case _:
            return character in "\t\n\v\f\r "


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
