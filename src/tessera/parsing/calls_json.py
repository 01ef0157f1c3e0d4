r"""Reads calls as Hermes models write them.

    <tool_call>\n{"name": "NAME", "arguments": {…}}\n</tool_call>

The name comes first; only a known name makes it a call. The object of the arguments is passed on in the
model's own spelling while it is scanned. Inside a string nothing is a tag; outside of strings a tag ends the
call, and brackets that are still open are closed. Other members of the call's object become part of the
answer (`StrayText`), without the commas between them.
"""

import json
import re
from collections.abc import Callable, Iterable

from tessera.core.generation import EngineFinish
from tessera.parsing.answer import StrayText
from tessera.parsing.matcher import FoundTag, span
from tessera.parsing.opening import SPACE, CallHead, ended
from tessera.parsing.states import PieceReader, State, Turn
from tessera.text.pieces import TextPiece

_CLOSERS = {"{": "}", "[": "]"}
_STRUCTURE = re.compile(r'["{}\[\],<]')
_IN_STRING = re.compile(r'["\\]')
_MEMBER = re.compile(r'["},<]')
_ARGUMENTS = '"arguments"'
_VALUE = re.compile(r"[^\s:]")


def head(names: Iterable[str]) -> CallHead:
    """What follows the call tag."""
    quoted = ended(names, '"')
    steps = (SPACE, ("{",), SPACE, ('"name"',), SPACE, (":",), SPACE, ('"',), quoted, SPACE, (",", "}"))
    return CallHead(steps, name=8)


class JsonScanner:
    """Finds the end of a JSON value."""

    def __init__(self) -> None:
        self.in_string = False
        self.ended = False
        self._escaped = False
        self._open: list[str] = []

    def scan(self, text: str, at: int) -> int:
        """Reads on from `at`; returns where the value ends, or the end of the text."""
        while at < len(text) and not self.ended:
            at = self._string(text, at) if self.in_string else self._structure(text, at)
        return at

    def missing(self) -> str:
        """The text that closes everything that is open."""
        return '"' * self.in_string + "".join(reversed(self._open))

    def _string(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        if not (found := _IN_STRING.search(text, at)):
            return len(text)
        if found[0] == "\\":
            self._escaped = True
        else:
            self.in_string = False
            self.ended = not self._open
        return found.end()

    def _structure(self, text: str, at: int) -> int:
        if not (found := _STRUCTURE.search(text, at)):
            return len(text)
        match found[0]:
            case '"':
                self.in_string = True
            case "{" | "[" as bracket:
                self._open.append(_CLOSERS[bracket])
            case "}" | "]" if self._open:
                self._open.pop()
                self.ended = not self._open
            case "," if self._open:
                pass
            case _:
                self.ended = True
                return found.start()
        return found.end()


class JsonCallReader(PieceReader):
    """Reads the members of a call's object, after the name."""

    state = State.CALL

    def __init__(self, turn: Turn, then: Callable[[], None]) -> None:
        self._turn = turn
        self._then = then
        self._strays = StrayText(turn.answer)
        self._read: Callable[[TextPiece, int], int] = self._member
        self._scanner = JsonScanner()
        self._key: list[TextPiece] = []
        self._value: list[str] = []
        self._is_arguments = False
        self._streams = False
        self._written = False
        self._closed = False

    def text(self, piece: TextPiece) -> None:
        at = 0
        while at < len(piece.text) and not self._closed:
            at = self._read(piece, at)
        if self._closed and at < len(piece.text):
            self._turn.push_back([span(piece, at, len(piece.text))])

    def tag(self, tag: FoundTag) -> bool:
        """A control token is text within a string, else the end of the call."""
        if self._scanner.in_string:
            return False
        self._close()
        return self._turn.reader.tag(tag)

    def end(self, finish: EngineFinish) -> None:
        """The arguments of a call that the token limit cut stay as they are."""
        if finish == "stop":
            self._close()
            return
        if self._read == self._name and not _ARGUMENTS.startswith(_joined(self._key)):
            self._strays.add(*self._key)
        elif self._read == self._add_value and self._is_arguments and not self._streams:
            self._write_value()
        self._strays.show()

    def _member(self, piece: TextPiece, at: int) -> int:
        """Looks for the next key, or for the end of the object."""
        found = _MEMBER.search(piece.text, at)
        until = found.start() if found else len(piece.text)
        self._strays.add(span(piece, at, until))
        match found and found[0]:
            case '"':
                self._scanner = JsonScanner()
                self._key = []
                self._read = self._name
            case ",":
                self._strays.separate()
                return until + 1
            case "}":
                self._close()
                return until + 1
            case "<":
                self._close()
            case _:
                pass
        return until

    def _name(self, piece: TextPiece, at: int) -> int:
        until = self._scanner.scan(piece.text, at)
        self._key.append(span(piece, at, until))
        if self._scanner.ended:
            self._is_arguments = not self._written and _joined(self._key) == _ARGUMENTS
            if self._is_arguments:
                self._strays.separate()
            else:
                self._strays.add(*self._key)
            self._read = self._begin_value
        return until

    def _begin_value(self, piece: TextPiece, at: int) -> int:
        found = _VALUE.search(piece.text, at)
        until = found.start() if found else len(piece.text)
        if not self._is_arguments:
            self._strays.add(span(piece, at, until))
        if found:
            self._scanner = JsonScanner()
            self._value = []
            self._read = self._add_value
            self._streams = self._is_arguments and found[0] == "{"
        return until

    def _add_value(self, piece: TextPiece, at: int) -> int:
        until = self._scanner.scan(piece.text, at)
        if not self._is_arguments:
            self._strays.add(span(piece, at, until))
        elif not self._streams:
            self._value.append(piece.text[at:until])
        elif until > at:
            self._written = True
            self._turn.write(piece.text[at:until])
        if self._scanner.ended:
            self._end_value()
        return until

    def _end_value(self) -> None:
        if self._streams and (missing := self._scanner.missing()):
            self._turn.write(missing)
        if self._is_arguments and not self._written:
            self._write_value()
        self._streams = False
        self._read = self._member

    def _write_value(self) -> None:
        self._written = True
        self._turn.write(unwrapped("".join(self._value), self._scanner.missing()))

    def _close(self) -> None:
        if self._read == self._name:
            self._strays.add(*self._key)
        elif self._read == self._add_value:
            self._end_value()
        if not self._written:
            self._turn.write("{}")
        self._closed = True
        self._strays.show()
        self._then()


def _joined(pieces: Iterable[TextPiece]) -> str:
    return "".join(piece.text for piece in pieces)


def unwrapped(text: str, missing: str) -> str:
    """Reads arguments that are not an object: null, or an object inside a string. `missing` closes what is
    open in the text.
    """
    try:
        value = json.loads(text + missing)
    except (ValueError, RecursionError):
        return text.strip() or "{}"
    if value is None:
        return "{}"
    return value if isinstance(value, str) and value.lstrip().startswith("{") else text.strip()
