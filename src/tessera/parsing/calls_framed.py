r"""Reads calls that are JSON between fixed texts, as `syntax.CallForm` describes them.

    [TOOL_CALLS]get_weather[ARGS]{"city": "León"}[TOOL_CALLS]get_time[ARGS]{}

Only a known name makes it a call. The arguments are passed on while they are scanned for their end. The text
after them is held until it is known to lead to the next call, or to end the calls; it is shown only if it
turns out to be neither.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from tessera.core.generation import EngineFinish
from tessera.parsing.calls_json import JsonScanner
from tessera.parsing.matcher import FoundTag, span
from tessera.parsing.opening import OpeningReader
from tessera.parsing.states import PieceReader, State, Turn
from tessera.parsing.syntax import CallForm
from tessera.text.pieces import TextPiece

_ID = ""
"""The symbol that stands for one or more letters and digits."""


class FramedHead:
    """A `Head` that follows several sequences of symbols at once. Each has the name of a function; a sequence
    without one ends the calls.
    """

    def __init__(self, sequences: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        self._followed = [(name, symbols, 0) for name, symbols in sequences]
        self.whole = False
        self.name = ""
        self.n_taken = 0

    def follows(self, symbol: str) -> bool:
        self.n_taken += 1
        followed: list[tuple[str, tuple[str, ...], int]] = []
        for name, symbols, at in self._followed:
            if (after := _step(symbols, at, symbol)) is None:
                continue
            if after == len(symbols):
                self.name = name
                self.whole = True
                return True
            followed.append((name, symbols, after))
        self._followed = followed
        return bool(followed)


def head(turn: Turn) -> FramedHead:
    """What follows the call tag."""
    form = _form(turn)
    return FramedHead(_named(turn, (form.first, *form.other_first)))


def bare_literal(turn: Turn) -> str:
    """The character that may begin a call without its tag; empty if none may begin here."""
    form = _form(turn)
    return form.first[:1] if form.bare and turn.calls_may_be_bare and turn.answer.blank else ""


def bare_head(turn: Turn) -> FramedHead:
    """What follows the character of `bare_literal`."""
    form = _form(turn)
    return FramedHead(_named(turn, [first[1:] for first in (form.first, *form.other_first)]))


class FramedCallReader(PieceReader):
    """Reads the arguments of a call."""

    state = State.CALL

    def __init__(self, turn: Turn, then: Callable[[], None], begin: Callable[[str], None]) -> None:
        """`then` ends the call, and `begin` begins another one."""
        self._turn = turn
        self._then = then
        self._begin = begin
        self._scanner = JsonScanner()
        self._written = False

    def text(self, piece: TextPiece) -> None:
        if not self._written and not piece.text.startswith("{"):
            self._end(whole=True)
            self._turn.push_back([piece])
            return
        self._written = True
        until = self._scanner.scan(piece.text, 0)
        self._turn.write(piece.text[:until])
        if self._scanner.ended:
            self._end(whole=True)
            if until < len(piece.text):
                self._turn.push_back([span(piece, until, len(piece.text))])

    def tag(self, tag: FoundTag) -> bool:
        """A control token is text within a string, else the end of the call."""
        if self._scanner.in_string:
            return False
        self._end(whole=True)
        self._turn.push_back([tag])
        return True

    def end(self, finish: EngineFinish) -> None:
        """The arguments of a call that the token limit cut stay as they are."""
        if finish == "stop":
            self._end(whole=False)

    def _end(self, *, whole: bool) -> None:
        if missing := self._scanner.missing() if self._written else "{}":
            self._turn.write(missing)
        self._then()
        form = _form(self._turn)
        if whole and form.last:
            ways = [("", _symbols(self._turn, form, form.last))]
            if form.next is not None:
                ways += _named(self._turn, [form.next])
            self._turn.current = _Continuation(self._turn, FramedHead(ways), self._continue)

    def _continue(self, name: str) -> None:
        self._turn.answer.call_markup()
        if name:
            self._begin(name)


class _Continuation(OpeningReader):
    """Reads what follows the arguments. If the output ends in it, it is markup."""

    def __init__(self, turn: Turn, head: FramedHead, confirmed: Callable[[str], None]) -> None:
        super().__init__(turn, FoundTag("", ()), head, confirmed, cut_short=turn.answer.call_markup)

    def end(self, finish: EngineFinish) -> None:
        super().end("length")


def _form(turn: Turn) -> CallForm:
    form = turn.syntax.form
    assert form is not None, "a syntax with framed calls has their form"
    return form


def _named(turn: Turn, beginnings: Iterable[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The sequences that lead to the arguments of any function."""
    form = _form(turn)
    before_arguments = _symbols(turn, form, form.between)
    if form.id:
        before_arguments += (_ID, *_symbols(turn, form, form.after_id))
    for beginning in beginnings:
        before = _symbols(turn, form, beginning)
        for name in turn.tools:
            yield name, (*before, *name, *before_arguments)


def _symbols(turn: Turn, form: CallForm, text: str) -> tuple[str, ...]:
    """The characters of a text, except that a tag which is a control token is one symbol."""
    control = set(form.tags) - {*turn.spelled(form.tags)}
    parts = split_at(text, control)
    return tuple(symbol for part in parts for symbol in ([part] if part in control else part))


def split_at(text: str, tags: Iterable[str]) -> list[str]:
    """The text, cut at the tags, which are parts of their own."""
    pattern = "|".join(map(re.escape, tags))
    return [part for part in re.split(f"({pattern})", text) if part] if pattern else [text]


def _step(symbols: tuple[str, ...], at: int, symbol: str) -> int | None:
    """The place in the sequence after one more symbol; None if it does not follow."""
    if symbols[at] == _ID:
        if len(symbol) == 1 and symbol.isalnum() and symbol.isascii():
            return at
        at += 1
    return at + 1 if symbols[at] == symbol else None
