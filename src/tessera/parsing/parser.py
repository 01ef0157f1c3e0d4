"""The incremental parser: pieces of one choice in, events out, whatever way the pieces are cut.

    Reasoning ──close tag──▶ Content ◀──end of the call── calls_xml, calls_json
        └──call tag──┐          └──call tag──┐                    ▲
                     └────────▶ Opening ◀────┘ ──once confirmed───┘

Text is shown as soon as it can no longer be markup, and is never lost: a tag that means nothing where it
stands is text.
"""

from collections.abc import Callable, Container, Iterable

from tessera.core.chat import ChatRequest, Mode
from tessera.core.events import ChatEvent, Finished, FinishReason
from tessera.core.generation import EngineFinish
from tessera.parsing.matcher import Matcher, Tag, markup_automaton
from tessera.parsing.states import Content, Reasoning
from tessera.parsing.syntax import Syntax
from tessera.parsing.turn import Turn
from tessera.text.pieces import ControlPiece, Piece, TextPiece


class Parser:
    """Reads one choice.

    `in_reasoning`: the next token belongs to the reasoning, as far as can be known. `stopped`: nothing that
    follows is wanted, and `finish` can be called.
    """

    def __init__(
        self,
        choice: int,
        request: ChatRequest,
        syntax: Syntax,
        control_tokens: Container[str],
        new_call_id: Callable[[], str],
    ) -> None:
        self._choice = choice
        self._named = request.tool_choice.named
        self._ends = syntax.ends
        self._turn = turn = Turn(choice, request, syntax, control_tokens, new_call_id)
        thinking = request.mode is Mode.THINKING
        turn.state = Reasoning(turn, syntax.reasoning) if thinking and syntax.reasoning else Content(turn)
        self._state = turn.state
        self._matcher = Matcher(markup_automaton(turn.state.literals))
        self._ended = False

    @property
    def in_reasoning(self) -> bool:
        """Whether a token that comes now is one of the reasoning."""
        return self._turn.state.reasoning

    @property
    def stopped(self) -> bool:
        """A stop string, or one call too many, ended the choice."""
        return self._turn.stopped

    def passes(self, text: str) -> bool:
        """Whether the text is shown as it is, here and now; it then counts as read."""
        state = self._turn.state
        if self._ended or not state.shows_text:
            return False
        return self._matcher.passes(text) and self._turn.answer.passes(text)

    def feed(self, pieces: Iterable[Piece]) -> list[ChatEvent]:
        """Read more of the output."""
        for piece in pieces:
            if self._ended:
                break
            match piece:
                case TextPiece():
                    self._turn.queue.append(piece)
                case ControlPiece(_, text) if text in self._ends:
                    self._ended = True
                case ControlPiece(_, text):
                    self._turn.queue.append(Tag(text, (TextPiece(text),)))
            self._read()
        return self._events()

    def finish(self, finish: EngineFinish) -> list[ChatEvent]:
        """The output is over: whatever was held back, and `Finished`."""
        state = None
        # What an opening gives back is read by the state before it, which then ends too.
        while state is not self._turn.state and not self.stopped:
            if finish == "length" and not self._turn.state.half_tag_is_text:
                self._matcher.flush()
            self._settle()
            state = self._turn.state
            state.end(finish)
            self._follow()
            self._read()
        if not self.stopped:
            self._turn.answer.end()
        events = self._events()
        events.append(Finished(self._choice, self._reason(finish)))
        return events

    def _reason(self, finish: EngineFinish) -> FinishReason:
        if finish == "length" and (self._turn.in_call or not self.stopped):
            return FinishReason.LENGTH
        if self._turn.n_calls and not self._named:
            return FinishReason.TOOL_CALLS
        return FinishReason.STOP

    def _events(self) -> list[ChatEvent]:
        events, self._turn.events = self._turn.events, []
        return events

    def _read(self) -> None:
        queue = self._turn.queue
        while queue and not self._turn.stopped:
            item = queue.popleft()
            if isinstance(item, Tag):
                self._settle()
                self._tag(item)
            else:
                self._text(item)

    def _text(self, piece: TextPiece) -> None:
        at = 0
        while at < len(piece.text) and not self._turn.stopped:
            before, tag, at = self._matcher.scan(piece, at)
            for each in before:
                self._turn.state.text(each)
            if tag:
                self._tag(tag)
            self._follow()

    def _tag(self, tag: Tag) -> None:
        if not self._turn.state.tag(tag):
            for piece in tag.pieces:
                self._turn.state.text(piece)
        self._follow()

    def _settle(self) -> None:
        """A control token or the end comes: what the matcher holds is text."""
        for piece in self._matcher.flush():
            self._turn.state.text(piece)
        self._follow()

    def _follow(self) -> None:
        """Look for the literals of the state that is now."""
        if self._state is not self._turn.state:
            self._turn.again(self._matcher.flush())
            self._state = self._turn.state
            self._matcher = Matcher(markup_automaton(self._state.literals))
