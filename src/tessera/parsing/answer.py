"""The visible text of a choice: which of it is shown, and when.

    text ──▶ drop white space that separates it from markup ──▶ look for stop strings ──▶ hold white space
    that a call may follow ──▶ show

White space between a reply and its calls belongs to the markup: newlines after the reasoning, white space
before a call, and white space after one unless it separates two visible texts.
"""

from collections.abc import Callable
from typing import Literal

from tessera.core.generation import TokenLogprob
from tessera.parsing.matcher import Automaton, Matcher, cut
from tessera.text.pieces import TextPiece

Show = Callable[[str, tuple[TokenLogprob, ...]], None]


class Answer:
    """Shows text up to a stop string.

    It is `blank` until a visible character comes, and `stopped` once a stop string was found.
    """

    def __init__(self, show: Show, stop: tuple[str, ...], *, calls: bool) -> None:
        """With `calls`, a call may follow, so that white space must wait."""
        self._out = show
        self._stops = Matcher(Automaton(stop))
        self._calls = calls
        self._after: Literal["text", "reasoning", "call"] = "text"
        self._leading: list[TextPiece] = []
        self._trailing: list[TextPiece] = []
        self._tail = ""
        self.blank = True
        self.stopped = False

    @property
    def after_call(self) -> bool:
        """Whether only white space came since the last call."""
        return self._after == "call"

    @property
    def at_paragraph(self) -> bool:
        """Whether the next text begins a paragraph."""
        return self.blank or self.after_call or self._tail == "\n\n"

    def text(self, piece: TextPiece) -> None:
        for each in self._without_separators(piece):
            self.blank = self.blank and each.text.isspace()
            self._tail = (self._tail + each.text[-2:])[-2:]
            if not self.stopped:
                certain, stop, _ = self._stops.scan(each)
                for shown in certain:
                    self._show(shown)
                if stop:
                    self.stopped = True
                    self._release()

    def passes(self, text: str) -> bool:
        """Whether the text can be shown as it is. If so, it counts as shown."""
        if self.blank or self._after != "text" or not self._stops.passes(text):
            return False
        if self._calls:
            if self._trailing or text[-1].isspace():
                return False
            self._tail = (self._tail + text[-2:])[-2:]
        return True

    def _without_separators(self, piece: TextPiece) -> list[TextPiece]:
        """The piece without the white space that separates it from markup before it."""
        match self._after:
            case "text":
                return [piece]
            case "reasoning":
                kept = [_without_leading(piece, "\n")]
            case "call" if piece.text.isspace():
                self._leading.append(piece)
                return []
            case "call":
                kept = [_without_leading(piece, None)] if self.blank else [*self._leading, piece]
                self._leading.clear()
        if not kept[-1].text:
            return []
        self._after = "text"
        return kept

    def reasoning_ended(self) -> None:
        """The newlines that follow belong to the markup."""
        self._after = "reasoning"

    def call_markup(self) -> None:
        """Markup of a call stands here: white space before and after it belongs to the markup."""
        for piece in self._stops.flush():
            self._show(piece)
        self._trailing.clear()
        self._leading.clear()
        self._tail = ""
        self._after = "call"

    def end(self) -> None:
        """Shows what was held, since nothing follows."""
        for piece in self._stops.flush():
            self._show(piece)
        self._release()

    def _show(self, piece: TextPiece) -> None:
        if not self._calls:
            self._out(piece.text, piece.logprobs)
            return
        visible, space = cut(piece, len(piece.text.rstrip()))
        if visible.text:
            self._release()
            self._out(visible.text, visible.logprobs)
        if space.text:
            self._trailing.append(space)

    def _release(self) -> None:
        for piece in self._trailing:
            self._out(piece.text, piece.logprobs)
        self._trailing.clear()


class StrayText:
    """Text within a call that belongs to none of its parameters. White space between it and the markup of the
    call is dropped.

    Under a grammar there is none. A model without a grammar may write anything, and nothing of it is lost:
    such text is shown as part of the answer once the call has ended. Earlier, a stop string in it could cut
    the arguments.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._runs: list[list[TextPiece]] = [[]]

    def add(self, *pieces: TextPiece) -> None:
        self._runs[-1] += [piece for piece in pieces if piece.text]

    def separate(self) -> None:
        """Markup of the call stands between the text before and the text after."""
        if self._runs[-1]:
            self._runs.append([])

    def show(self) -> None:
        """Shows the text, since the call has ended."""
        for run in self._runs:
            for piece in run:
                self._answer.text(piece)
            self._answer.call_markup()
        self._runs = [[]]


def _without_leading(piece: TextPiece, characters: str | None) -> TextPiece:
    return cut(piece, len(piece.text) - len(piece.text.lstrip(characters)))[1]
