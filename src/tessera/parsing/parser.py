"""The incremental parser: pieces of one choice in, events out, however the pieces are cut.

`states` has the table of its states. Text is shown as soon as it can no longer be markup, and is never lost:
a tag that means nothing where it stands is text.
"""

from collections.abc import Callable, Container, Iterable

from tessera.core.chat import ChatRequest
from tessera.core.events import ChatEvent, Finished, FinishReason
from tessera.core.generation import EngineFinish
from tessera.parsing import between_calls, harmony
from tessera.parsing.matcher import FoundTag, Matcher, markup_automaton, span
from tessera.parsing.states import State, Turn
from tessera.parsing.syntax import Syntax
from tessera.text.pieces import ControlPiece, Piece, TextPiece


class Parser:
    """Reads one choice, state by state.

    Once it has `stopped`, nothing that follows is wanted, and `finish` can be called.
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
        first_reader = harmony.first_reader if syntax.calls == "harmony" else between_calls.first_reader
        turn.begin(first_reader(turn, request.mode))
        self._reader = turn.current
        self._matcher = Matcher(markup_automaton(self._reader.literals))
        self._ended = False

    @property
    def state(self) -> State:
        """What the text that comes next belongs to, as far as can be known."""
        return self._turn.reader.state

    @property
    def stopped(self) -> bool:
        """Whether a stop string, or one call too many, has ended the choice."""
        return self._turn.stopped

    def passes(self, text: str) -> bool:
        """Whether the text can be shown as it is, here and now. If so, it counts as read."""
        turn = self._turn
        if self._ended or not turn.current.shows_text:
            return False
        return self._matcher.passes(text) and turn.answer.passes(text)

    def feed(self, pieces: Iterable[Piece]) -> list[ChatEvent]:
        for piece in pieces:
            if self._ended:
                break
            match piece:
                case TextPiece():
                    self._turn.queue.append(piece)
                case ControlPiece(_, text) if text in self._ends:
                    self._ended = True
                case ControlPiece(_, text):
                    self._turn.queue.append(FoundTag(text, (TextPiece(text),)))
            self._read()
        return self._events()

    def finish(self, finish: EngineFinish) -> list[ChatEvent]:
        """Ends the output. Returns the events of what was held back, and `Finished`."""
        reader = None
        # The output ends for one reader after the other: each may leave something to the next.
        while reader is not self._turn.current and not self.stopped:
            if finish == "length" and not self._turn.current.half_tag_is_text:
                self._matcher.flush()
            self._settle()
            reader = self._turn.current
            reader.end(finish)
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
        events = self._turn.events
        self._turn.events = []
        return events

    def _read(self) -> None:
        turn = self._turn
        while turn.queue and not turn.stopped:
            item = turn.queue.popleft()
            if isinstance(item, FoundTag):
                self._settle()
                tag = item
            else:
                certain, tag, at = self._matcher.scan(item)
                if at < len(item.text):
                    turn.push_back([span(item, at, len(item.text))])
                for each in certain:
                    turn.current.text(each)
            if tag and not turn.current.tag(tag):
                for piece in tag.pieces:
                    turn.current.text(piece)
            self._follow()

    def _settle(self) -> None:
        """A control token, or the end, comes next: what the matcher holds is text."""
        for piece in self._matcher.flush():
            self._turn.current.text(piece)
        self._follow()

    def _follow(self) -> None:
        """Searches for the literals of the current reader."""
        if self._reader is not self._turn.current:
            self._turn.push_back(self._matcher.flush())
            self._reader = self._turn.current
            self._matcher = Matcher(markup_automaton(self._reader.literals))
