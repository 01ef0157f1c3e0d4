"""Text within a call that belongs to none of its parameters.

Under a grammar there is none. A model that no grammar holds may write anything, and nothing of it is lost:
such text is shown as part of the answer once the call is over. Until then a stop string in it could cut the
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
        """More of it."""
        self._runs[-1] += [piece for piece in pieces if piece.text]

    def separate(self) -> None:
        """Markup of the call stands between what came and what comes."""
        if self._runs[-1]:
            self._runs.append([])

    def show(self) -> None:
        """The call is over."""
        for run in self._runs:
            for piece in run:
                self._answer.text(piece)
            self._answer.call_markup()
        self._runs = [[]]
