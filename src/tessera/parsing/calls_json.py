r"""Calls as Hermes models write them.

    <tool_call>\n{"name": "NAME", "arguments": {…}}\n</tool_call>

The name comes first; that it is known is what makes it a call. The object of the arguments is passed on in
the model's own spelling while it is scanned. Nothing in it is a tag as long as a string is open; outside of
strings a tag ends the call, and brackets that are still open are closed.
"""

import json
import re
from collections.abc import Callable, Iterable

from tessera.core.generation import EngineFinish
from tessera.parsing.matcher import Tag, cut
from tessera.parsing.opening import SPACE, Head, ended
from tessera.parsing.turn import Call, State, Turn
from tessera.text.pieces import TextPiece

_CLOSERS = {"{": "}", "[": "]"}
_STRUCTURE = re.compile(r'["{}\[\],<]')
_IN_STRING = re.compile(r'["\\]')
_MEMBER = re.compile(r'["}<]')
_VALUE = re.compile(r"[^\s:]")


def head(names: Iterable[str]) -> Head:
    """What follows the call tag."""
    quoted = ended(names, '"')
    steps = (SPACE, ("{",), SPACE, ('"name"',), SPACE, (":",), SPACE, ('"',), quoted, SPACE, (",", "}"))
    return Head(steps, name=8)


class _Scanner:
    """Finds the end of a JSON value."""

    def __init__(self) -> None:
        self.in_string = False
        self.ended = False
        self._escaped = False
        self._open: list[str] = []

    def scan(self, text: str, at: int) -> int:
        """Read on from `at`; returns where the value ends, or the end of the text."""
        while at < len(text) and not self.ended:
            at = self._string(text, at) if self.in_string else self._structure(text, at)
        return at

    def missing(self) -> str:
        """What closes everything that is open."""
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


class Members(State):
    """The members of a call's object, after the name."""

    def __init__(self, turn: Turn, call: Call, then: Callable[[], None]) -> None:
        self._turn, self._call, self._then = turn, call, then
        self._read: Callable[[str, int], int] = self._member
        self._scanner = _Scanner()
        self._key: list[str] = []
        self._value: list[str] = []
        self._is_arguments = self._streams = self._written = self._closed = False

    def text(self, piece: TextPiece) -> None:
        """Read members; what follows the object is not the call's."""
        at = 0
        while at < len(piece.text) and not self._closed:
            at = self._read(piece.text, at)
        if self._closed and at < len(piece.text):
            self._turn.again([cut(piece, at)[1]])

    def tag(self, tag: Tag) -> bool:
        """A control token: text within a string, else the end of the call."""
        if self._scanner.in_string:
            return False
        self._close()
        return self._turn.state.tag(tag)

    def end(self, finish: EngineFinish) -> None:
        """The arguments of a call that its length cut stay as they are."""
        if finish == "stop":
            self._close()

    def _member(self, text: str, at: int) -> int:
        """Look for the next key, or for the end of the object."""
        if not (found := _MEMBER.search(text, at)):
            return len(text)
        if found[0] == '"':
            self._scanner, self._key, self._read = _Scanner(), [], self._name
            return found.start()
        self._close()
        return found.start() if found[0] == "<" else found.end()

    def _name(self, text: str, at: int) -> int:
        until = self._scanner.scan(text, at)
        self._key.append(text[at:until])
        if self._scanner.ended:
            self._read = self._begin_value
        return until

    def _begin_value(self, text: str, at: int) -> int:
        if not (found := _VALUE.search(text, at)):
            return len(text)
        self._scanner, self._value, self._read = _Scanner(), [], self._add_value
        self._is_arguments = "".join(self._key) == '"arguments"' and not self._written
        self._streams = self._is_arguments and found[0] == "{"
        return found.start()

    def _add_value(self, text: str, at: int) -> int:
        until = self._scanner.scan(text, at)
        if self._streams and until > at:
            self._written = True
            self._call.write(text[at:until])
        elif self._is_arguments:
            self._value.append(text[at:until])
        if self._scanner.ended:
            self._end_value()
        return until

    def _end_value(self) -> None:
        if self._streams and (missing := self._scanner.missing()):
            self._call.write(missing)
        if self._is_arguments and not self._written:
            self._written = True
            self._call.write(_arguments("".join(self._value)))
        self._streams, self._read = False, self._member

    def _close(self) -> None:
        if self._read == self._add_value:
            self._end_value()
        if not self._written:
            self._call.write("{}")
        self._closed = True
        self._then()


def _arguments(text: str) -> str:
    """Arguments that are no object: none, or an object that was written into a string."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip() or "{}"
    if value is None:
        return "{}"
    return value if isinstance(value, str) and value.lstrip().startswith("{") else text.strip()
