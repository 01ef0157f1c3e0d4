"""Reads the body of a call in harmony: the object of its arguments, and nothing else."""

from collections.abc import Callable, Collection

from tessera.core.generation import EngineFinish
from tessera.parsing.answer import StrayText
from tessera.parsing.calls_json import JsonScanner, unwrapped
from tessera.parsing.matcher import FoundTag, span
from tessera.parsing.states import PieceReader, State, Turn
from tessera.text.pieces import TextPiece


class ArgumentsReader(PieceReader):
    """Reads the arguments of a call, which end where the value ends. Other text in the body becomes part of
    the answer.
    """

    state = State.CALL

    @property
    def half_tag_is_text(self) -> bool:
        return self._scanner.in_string

    def __init__(self, turn: Turn, ends: Collection[str], then: Callable[[FoundTag | None], bool]) -> None:
        """`ends` are the tags that end the call. `then` changes the state, and reads the tag if any."""
        self._turn = turn
        self._ends = ends
        self._then = then
        self.literals = turn.spelled(ends)
        self._scanner = JsonScanner()
        self._strays = StrayText(turn.answer)
        self._write: Callable[[str], None] | None = None
        self._value: list[str] = []

    def text(self, piece: TextPiece) -> None:
        text = piece.text
        at = 0 if self._write else len(text) - len(text.lstrip())
        if at == len(text):
            return
        if self._write is None:
            # Only an object is passed on as it comes.
            self._write = self._turn.write if text[at] == "{" else self._value.append
        until = self._scanner.scan(text, at)
        if until > at:
            self._write(text[at:until])
        self._strays.add(span(piece, until, len(text)))

    def tag(self, tag: FoundTag) -> bool:
        """A tag is text within a string, else the end of the call."""
        if self._scanner.in_string or tag.text not in self._ends:
            return False
        self._close()
        return self._then(tag)

    def end(self, finish: EngineFinish) -> None:
        """The arguments of a call that the token limit cut stay as they are."""
        if finish == "stop":
            self._close()
            self._then(None)
        else:
            if self._value:
                self._turn.write(unwrapped("".join(self._value), self._scanner.missing()))
            self._strays.show()

    def _close(self) -> None:
        missing = self._scanner.missing()
        if self._write != self._turn.write:
            self._turn.write(unwrapped("".join(self._value), missing))
        elif missing:
            self._turn.write(missing)
        self._turn.in_call = False
        self._strays.show()
