r"""Reads calls as Gemma 4 writes them, and writes their arguments as JSON.

    <|tool_call>call:NAME{city:<|"|>León<|"|>,days:2,tags:["a", "b"]}<tool_call|>

Names of parameters are bare, and strings are raw text between quotes of the family's own. Objects and arrays
are read in the same spelling and as JSON. In a string nothing is a tag but the quote that ends it; outside of
strings, any other tag ends the call, and what is still open is closed.
"""

import re
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring
from typing import Literal

from tessera.core.generation import EngineFinish
from tessera.parsing.matcher import FoundTag, span
from tessera.parsing.opening import SPACE, CallHead, ended
from tessera.parsing.states import PieceReader, State, Turn
from tessera.parsing.syntax import QUOTE
from tessera.text.pieces import TextPiece

_CLOSERS = {"{": "}", "[": "]"}
_STRUCTURE = re.compile(r'["{}\[\],:\s]')
_IN_STRING = re.compile(r'["\\]')


def head(names: Iterable[str]) -> CallHead:
    """What follows the call tag."""
    return CallHead((SPACE, ("call:",), ended(names, "{")), name=2)


class GemmaCallReader(PieceReader):
    """Reads the arguments of a call, whose opening brace has been read."""

    state = State.CALL

    @property
    def half_tag_is_text(self) -> bool:
        return False  # a string ends with a quote, and a call with a tag

    def __init__(self, turn: Turn, then: Callable[[], None]) -> None:
        self._turn = turn
        self._then = then
        call = turn.syntax.call
        self.literals = turn.spelled((QUOTE, *((call.open, call.close) if call else ())))
        self._arguments = _Arguments(turn.write)

    def text(self, piece: TextPiece) -> None:
        until = self._arguments.read(piece.text)
        if self._arguments.ended:
            self._then()
            if until < len(piece.text):
                self._turn.push_back([span(piece, until, len(piece.text))])

    def tag(self, tag: FoundTag) -> bool:
        if tag.text == QUOTE and self._arguments.string != "json":
            self._arguments.quote()
            return True
        if self._arguments.string:
            return False
        self._end()
        self._turn.push_back([tag])
        return True

    def end(self, finish: EngineFinish) -> None:
        """The arguments of a call that the token limit cut stay as they are."""
        if finish == "stop":
            self._end()

    def _end(self) -> None:
        self._turn.write(self._arguments.missing())
        self._then()


class _Arguments:
    """Writes one object as JSON while it is read. A parameter that comes twice keeps its first value.

    `string` tells whether a string is open, and in which quotes.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        """The opening brace has been read."""
        self._out = write
        self._open = ["}"]
        self._name = ""
        self._in_name = True
        self._given: set[str] = set()
        self._repeated = False
        self._escaped = False
        self.string: Literal["", "raw", "json"] = ""
        write("{")

    @property
    def ended(self) -> bool:
        return not self._open

    def missing(self) -> str:
        """The text that closes everything that is open."""
        if self._repeated:
            return self._open[0]
        return '"' * bool(self.string and not self._in_name) + "".join(reversed(self._open))

    def quote(self) -> None:
        """Begins or ends a string in the family's own quotes."""
        self.string = "" if self.string else "raw"
        if not self._in_name:
            self._write('"')

    def read(self, text: str) -> int:
        """Reads on. Returns where the object ends, or the end of the text."""
        at = 0
        while at < len(text) and not self.ended:
            match self.string:
                case "raw":
                    self._plain(text[at:], encode_basestring(text[at:])[1:-1])
                    at = len(text)
                case "json":
                    at = self._in_json(text, at)
                case _:
                    at = self._between(text, at)
        return at

    def _write(self, text: str) -> None:
        if not self._repeated:
            self._out(text)

    def _plain(self, text: str, written: str) -> None:
        if self._in_name:
            self._name += text
        else:
            self._write(written)

    def _in_json(self, text: str, at: int) -> int:
        found = None if self._escaped else _IN_STRING.search(text, at)
        until = at + 1 if self._escaped else found.end() if found else len(text)
        self._plain(text[at:until], text[at:until])
        self._escaped = found is not None and found[0] == "\\"
        if found is not None and found[0] == '"':
            self.string = ""
        return until

    def _between(self, text: str, at: int) -> int:
        """Reads names, numbers, words and what stands between them."""
        found = _STRUCTURE.search(text, at)
        until = found.start() if found else len(text)
        if until > at:
            self._plain(text[at:until], text[at:until])
            return until
        match text[at]:
            case '"':
                self.string = "json"
                self._plain('"', '"')
            case "{" | "[" as bracket if not self._in_name:
                self._open.append(_CLOSERS[bracket])
                self._write(bracket)
                self._in_name = bracket == "{"
            case "}" | "]":
                self._close()
            case ",":
                self._next()
            case ":" if self._in_name:
                self._named()
            case character if not character.isspace() or self._name:
                self._plain(character, character)
            case _:
                pass
        return at + 1

    def _close(self) -> None:
        if len(self._open) == 1:
            self._repeated = False
        self._write(self._open.pop())
        self._in_name = False
        self._name = ""

    def _next(self) -> None:
        if len(self._open) == 1:
            self._repeated = False
        else:
            self._write(", ")
        self._in_name = self._open[-1] == "}"
        self._name = ""

    def _named(self) -> None:
        """Writes a name, which JSON's quotes may surround already."""
        name = self._name.strip()
        name = name if name.startswith('"') else encode_basestring(name)
        if len(self._open) == 1:
            self._repeated = name in self._given
            self._write(", " if self._given else "")
            self._given.add(name)
        self._write(f"{name}: ")
        self._in_name = False
        self._name = ""
