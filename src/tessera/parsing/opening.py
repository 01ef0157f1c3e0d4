"""Holds what looks like the opening of a call until it is one, or turns out to be text."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from tessera.core.generation import EngineFinish
from tessera.parsing.matcher import FoundTag, span
from tessera.parsing.states import PieceReader, Turn
from tessera.text.pieces import TextPiece

SPACE = None


class Head(Protocol):
    """What must follow an opening tag. Once it is `whole`, it has the `name`; what comes after its first
    `n_taken` symbols is read again.
    """

    @property
    def whole(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def n_taken(self) -> int: ...

    def follows(self, symbol: str) -> bool:
        """Whether this may come next: a character, or a control token as a whole."""
        ...


class CallHead:
    """A `Head`, step by step: any white space (`SPACE`), or one of several strings.

    Step number `name` has the known names, each with the character that ends it. What matches later steps is
    read again afterwards; so is that character if it begins one of `tags`, which end a name too.
    """

    def __init__(
        self, steps: tuple[tuple[str, ...] | None, ...], name: int, tags: tuple[str, ...] = ()
    ) -> None:
        self._steps = steps
        self._name_step = name
        self._tags = tags
        self._step = 0
        self._matched = ""
        self._n_read = 0
        self.n_taken = 0
        self.name = ""

    @property
    def whole(self) -> bool:
        return self._step == len(self._steps)

    def follows(self, symbol: str) -> bool:
        if len(symbol) > 1:  # a control token, which can only end the name
            return symbol in self._tags and self._ends_name()
        self._n_read += 1
        while (step := self._steps[self._step]) is None:  # SPACE
            if symbol.isspace():
                return True
            self._step += 1
        self._matched += symbol
        if self._matched not in step:
            return any(each.startswith(self._matched) for each in step)
        if self._step == self._name_step:
            self.name = self._matched[:-1]
            self.n_taken = self._n_read - any(tag.startswith(symbol) for tag in self._tags)
        self._step += 1
        self._matched = ""
        return True

    def _ends_name(self) -> bool:
        """Whether a known name is all that came, which a tag then ends. The tag is read again."""
        names = self._steps[self._step] if self._step == self._name_step else None
        if not names or all(self._matched + tag[0] not in names for tag in self._tags):
            return False
        self.name = self._matched
        self.n_taken = self._n_read
        self._step = len(self._steps)
        return True


def ended(names: Iterable[str], by: str) -> tuple[str, ...]:
    """The names as a step of a `CallHead`."""
    return tuple(name + by for name in names)


class OpeningReader(PieceReader):
    """Reads what follows a tag that may open something, until that is decided. The state stays as it is."""

    def __init__(
        self,
        turn: Turn,
        tag: FoundTag,
        head: Head,
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
        self._held: list[TextPiece | FoundTag] = []

    def text(self, piece: TextPiece) -> None:
        self._held.append(piece)
        for character in piece.text:
            if not self._head.follows(character):
                self._give_back()
                return
            if self._head.whole:
                self._confirm()
                return

    def tag(self, tag: FoundTag) -> bool:
        self._held.append(tag)
        if not self._head.follows(tag.text):
            self._give_back()
        elif self._head.whole:
            self._confirm()
        return True

    def end(self, finish: EngineFinish) -> None:
        """Half an opening is text, unless the token limit cut it where it can only be markup."""
        if finish == "length" and self._cut_short:
            self._turn.current = self._turn.reader
            self._cut_short()
        else:
            self._give_back()

    def _confirm(self) -> None:
        self._turn.current = self._turn.reader
        self._turn.push_back(_after(self._head.n_taken, self._held))
        self._confirmed(self._head.name)

    def _give_back(self) -> None:
        self._turn.current = self._turn.reader
        for piece in self._tag.pieces:
            self._turn.reader.text(piece)
        self._turn.push_back(self._held)


def _after(n: int, held: list[TextPiece | FoundTag]) -> Iterator[TextPiece | FoundTag]:
    """What comes after the first `n` symbols."""
    for item in held:
        if isinstance(item, FoundTag):
            if n == 0:
                yield item
            n = max(0, n - 1)
            continue
        if n < len(item.text):
            yield span(item, n, len(item.text))
        n = max(0, n - len(item.text))
