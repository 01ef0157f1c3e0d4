"""Text within a call that belongs to none of its parameters.

Under a grammar there is none. A model without a grammar may write anything, and nothing of it is lost: such
text is shown as part of the answer once the call has ended. Earlier, a stop string in it could cut the
arguments.
"""

from tessera.parsing.answer import Answer
from tessera.text.pieces import TextPiece


class StrayText:
    """The stray text of one call. White space between it and the markup of the call is dropped."""

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
