"""Characters and classes of regular expressions, and which of them a reply can contain."""

import re
from dataclasses import dataclass

_SPACE = r"\t\n\x0b\f\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}"
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": _SPACE}
CONTROLS = r"\x00-\x07\x0b\x0e-\x1f\x7f"
UNWRITABLE = re.compile(f"[{CONTROLS}]")
"""Characters that the JSON of a reply cannot contain: its only escapes are `\\n` and the like."""
CONTROL = "a control character that replies do not hold"
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_NO_IDENTITY = frozenset("bBcdDfkknpPrsStuvwWx0123456789")
# The general categories, which Rust and ECMAScript name alike; scripts and other properties differ.
_CATEGORY = re.compile(r"\{(?:[LMNPSZC]|L[ultmo]|M[nce]|N[dlo]|P[cdseifo]|S[mcko]|Z[slp]|C[cfn])\}")
_HEX = re.compile(r"[0-9A-Fa-f]+")


class Malformed(ValueError):
    """Not a regular expression."""


@dataclass(frozen=True, slots=True)
class Item:
    """A member of a class, or a class by itself. `code` is that of a single character. Replies can contain
    all characters of a `writable` item.
    """

    text: str
    code: int | None = None
    writable: bool = True

    @property
    def is_control(self) -> bool:
        """Whether it is a single character that replies cannot contain."""
        return self.code is not None and not self.writable


def single(character: str) -> Item:
    """The item for a single character."""
    plain = character.isalnum() and character.isascii()
    text = character if plain else f"\\u{{{ord(character):x}}}"
    return Item(text, ord(character), writable=not UNWRITABLE.match(character))


def _range(low: Item, high: Item) -> list[Item]:
    if (
        low.code is None or high.code is None
    ):  # annex B: beside a class such as `\w`, the hyphen is a character
        return [low, single("-"), high]
    if high.code < low.code:
        raise Malformed("a range that ends before it begins")
    writable = low.code >= 0x20 and not low.code <= 0x7F <= high.code
    return [Item(f"{low.text}-{high.text}", writable=writable or (low.writable and low == high))]


class ClassReader:
    """Reads characters, escapes and classes. `rest` has not been read yet. `unsupported` names the first
    thing that no grammar can follow; reading goes on, since the rest may be malformed.

    If `writable_only`, classes lose the control characters that replies cannot contain, in Rust's syntax.
    """

    def __init__(self, pattern: str, *, writable_only: bool = True) -> None:
        self.rest = pattern
        self.writable_only = writable_only
        self.unsupported = ""

    def cannot_hold(self, what: str) -> str:
        """Notes what no grammar can follow; returns an empty expression for it."""
        self.unsupported = self.unsupported or what
        return ""

    def take(self, *tokens: str) -> str:
        """Steps over the first of `tokens` that is next, and returns it; "" if none is."""
        for token in tokens:
            if self.rest.startswith(token):
                self.rest = self.rest[len(token) :]
                return token
        return ""

    def character_class(self) -> str:
        """The class whose `[` has been read, without the control characters that replies cannot contain."""
        negated = bool(self.take("^"))
        items: list[Item] = []
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
            return self.cannot_hold("an empty class, which nothing matches")
        text = "".join(item.text for item in items)
        if not self.writable_only:
            return f"[^{text}]" if negated and text else f"[{text}]" if text else r"[\s\S]"
        if negated:
            return f"[^{text}{CONTROLS}]"
        if all(item.is_control for item in items):
            return self.cannot_hold(CONTROL)
        writable = all(item.writable for item in items)
        return f"[{text}]" if writable else f"[[{text}]&&[^{CONTROLS}]]"

    def _class_item(self) -> Item:
        if self.take("\\"):
            return self.escape(in_class=True)
        character = self.rest[:1]
        self.rest = self.rest[1:]
        return single(character)

    def escape(self, *, in_class: bool) -> Item:
        """The item that an escape stands for. Its backslash has been read."""
        character = self.rest[:1]
        self.rest = self.rest[1:]
        if not character:
            raise Malformed("a `\\` at the end")
        if members := _CLASSES.get(character.lower()):
            if not self.writable_only:
                return Item(f"\\{character}")
            if character.isupper():
                return Item(f"[^{members}]", writable=False)
            return Item(members if in_class else f"[{members}]", writable=character != "s")
        if character in "pP" and (category := _CATEGORY.match(self.rest)):
            self.rest = self.rest[category.end() :]
            return Item(f"\\{character}{category[0]}", writable=False)
        if in_class and character == "b":
            return single("\b")
        return single(self._character(character))

    def _character(self, character: str) -> str:
        """The one character that an escape stands for."""
        if character in "xu":
            return self._code(4 if character == "u" else 2, character)
        if (named := _LETTERS.get(character)) and not (character == "0" and self.rest[:1].isdigit()):
            return named
        if character not in _NO_IDENTITY:
            return character
        self.cannot_hold(f"`\\{character}`")
        return character

    def _code(self, digits: int, character: str) -> str:
        code = _HEX.match(self.rest[:digits])
        if not code or len(code[0]) < digits:
            braced = re.match(r"\{([0-9A-Fa-f]{1,6})\}", self.rest) if character == "u" else None
            if not braced or int(braced[1], 16) > 0x10FFFF:
                self.cannot_hold(f"a character code of fewer than {digits} digits")
                return character
            code = braced
        self.rest = self.rest[code.end() :]
        number = int(code[0].strip("{}"), 16)
        if 0xD800 <= number < 0xE000:
            self.cannot_hold("a surrogate")
            return character
        return chr(number)

    def alone(self, item: Item) -> str:
        """The expression of an item outside of a class."""
        if not self.writable_only:
            return item.text
        if item.is_control:
            return self.cannot_hold(CONTROL)
        if item.writable:
            return item.text
        if item.text.startswith("[^"):
            return f"{item.text[:-1]}{CONTROLS}]"
        return f"[{item.text}&&[^{CONTROLS}]]"
