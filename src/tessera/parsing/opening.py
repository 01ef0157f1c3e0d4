"""Holds what looks like the opening of a call until it is one, or turns out to be text."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tessera.core.generation import EngineFinish
from tessera.parsing.matcher import FoundTag, span
from tessera.parsing.states import PieceReader, Turn
from tessera.text.pieces import TextPiece

SPACE = None


@dataclass(frozen=True, slots=True)
class CallHead:
    """What must follow an opening tag, step by step: any white space (`SPACE`), or one of several strings.

    Step number `name` has the known names, each with the character that ends it. What matches later steps is
    read again afterwards; so is that character if it begins one of `tags`, which end a name too.
    """

    steps: tuple[tuple[str, ...] | None, ...]
    name: int
    tags: tuple[str, ...] = ()


def ended(names: Iterable[str], by: str) -> tuple[str, ...]:
    """The names as a step of a `CallHead`."""
    return tuple(name + by for name in names)


class OpeningReader(PieceReader):
    """Reads what follows a tag that may open something, until that is decided. The state stays as it is."""

    def __init__(
        self,
        turn: Turn,
        tag: FoundTag,
        head: CallHead,
        confirmed: Callable[[str], None],
        cut_short: Callable[[], None] | None = None,
    ) -> None:
        """`confirmed` is called with the name. If the token limit cuts the output in here and `cut_short` is
        given, it is called, and what is held is dropped instead of being shown.
        """
        self.state = turn.reader.state
        self._turn = turn
        self._tag = tag
        self._head = head
        self._confirmed = confirmed
        self._cut_short = cut_short
        self._held: list[TextPiece] = []
        self._step = 0
        self._matched = ""
        self._n_read = 0
        self._n_named = 0
        self._name = ""

    def text(self, piece: TextPiece) -> None:
        self._held.append(piece)
        for character in piece.text:
            if not self._follows(character):
                self._give_back()
                return
            if self._step == len(self._head.steps):
                self._confirm()
                return

    def tag(self, tag: FoundTag) -> bool:
        is_name = self._step == self._head.name and self._ended_name() in (self._head.steps[self._step] or ())
        if is_name and tag.text in self._head.tags:
            self._name = self._matched
            self._n_named = self._n_read
            self._confirm(tag)
        else:
            self._give_back(tag)  # a control token, which no other head has
        return True

    def end(self, finish: EngineFinish) -> None:
        """Half an opening is text, unless the token limit cut it where it can only be markup."""
        if finish == "length" and self._cut_short:
            self._turn.current = self._turn.reader
            self._cut_short()
        else:
            self._give_back()

    def _follows(self, character: str) -> bool:
        self._n_read += 1
        while (step := self._head.steps[self._step]) is None:  # SPACE
            if character.isspace():
                return True
            self._step += 1
        self._matched += character
        if self._matched not in step:
            return any(each.startswith(self._matched) for each in step)
        if self._step == self._head.name:
            self._name = self._matched[:-1]
            self._n_named = self._n_read - self._begins_tag(self._matched[-1])
        self._step += 1
        self._matched = ""
        return True

    def _begins_tag(self, character: str) -> bool:
        return any(tag.startswith(character) for tag in self._head.tags)

    def _ended_name(self) -> str:
        """What is matched, as if the first tag ended it."""
        return self._matched + "".join(tag[0] for tag in self._head.tags[:1])

    def _confirm(self, *tags: FoundTag) -> None:
        self._turn.current = self._turn.reader
        self._turn.push_back([*_after(self._n_named, self._held), *tags])
        self._confirmed(self._name)

    def _give_back(self, *tags: FoundTag) -> None:
        self._turn.current = self._turn.reader
        for piece in self._tag.pieces:
            self._turn.reader.text(piece)
        self._turn.push_back([*self._held, *tags])


def _after(n: int, pieces: list[TextPiece]) -> Iterator[TextPiece]:
    """The pieces after the first `n` characters."""
    for piece in pieces:
        if n < len(piece.text):
            yield span(piece, n, len(piece.text))
        n = max(0, n - len(piece.text))
