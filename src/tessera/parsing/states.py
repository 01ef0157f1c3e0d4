"""The states of the parser, every way from one to another, and what their readers share.

    REASONING ⇄ ANSWER ⇄ CALL → PARAMETER_NAME → PARAMETER_VALUE → CALL
    HEADER ⇄ REASONING, ANSWER, CALL                                        in harmony

Each state has a reader, which gets the text between its literals, and the tags: those literals, and control
tokens. A tag that may open a call, or the next parameter, changes nothing by itself: what follows it is held
until it decides (`opening`). Calls in JSON are read in the state CALL alone; calls in XML have states for
their parameters. In harmony, each message has a header that says what it is (`harmony`).
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from enum import Enum, auto
from types import MappingProxyType

from tessera.core.chat import ChatRequest, FreeText, Tool
from tessera.core.events import ChatEvent, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from tessera.core.generation import EngineFinish, TokenLogprob
from tessera.parsing.answer import Answer
from tessera.parsing.matcher import FoundTag
from tessera.parsing.syntax import Syntax
from tessera.schemas.signature import Signature
from tessera.text.pieces import TextPiece


class State(Enum):
    """What the text that comes next belongs to."""

    REASONING = auto()
    ANSWER = auto()
    CALL = auto()
    PARAMETER_NAME = auto()
    PARAMETER_VALUE = auto()
    HEADER = auto()


class Event(Enum):
    """What the parser found in the output."""

    REASONING_OPENED = auto()
    REASONING_CLOSED = auto()
    ANSWER_BEGUN = auto()
    """The first visible character: from here on, reasoning tags are text."""
    CALL_CONFIRMED = auto()
    """A call tag and the name of a tool that may be called."""
    CALL_ENDED = auto()
    PARAMETER_OPENED = auto()
    PARAMETER_NAMED = auto()
    PARAMETER_DROPPED = auto()
    """It has no name, or was given before."""
    VALUE_ENDED = auto()
    MESSAGE_ENDED = auto()
    """What comes next is the header of a message."""


TRANSITIONS: Mapping[State, Mapping[Event, State]] = MappingProxyType(
    {
        State.REASONING: {
            Event.REASONING_CLOSED: State.ANSWER,
            Event.CALL_CONFIRMED: State.CALL,  # models forget to close the reasoning before they call
            Event.MESSAGE_ENDED: State.HEADER,
        },
        State.ANSWER: {
            Event.REASONING_OPENED: State.REASONING,
            Event.ANSWER_BEGUN: State.ANSWER,
            Event.CALL_CONFIRMED: State.CALL,
            Event.MESSAGE_ENDED: State.HEADER,
        },
        State.CALL: {
            Event.CALL_ENDED: State.ANSWER,
            Event.PARAMETER_OPENED: State.PARAMETER_NAME,
            Event.MESSAGE_ENDED: State.HEADER,
        },
        State.PARAMETER_NAME: {
            Event.PARAMETER_NAMED: State.PARAMETER_VALUE,
            Event.PARAMETER_DROPPED: State.CALL,
        },
        State.PARAMETER_VALUE: {
            Event.VALUE_ENDED: State.CALL,
            Event.PARAMETER_NAMED: State.PARAMETER_VALUE,  # models forget to close a value
        },
        State.HEADER: {
            Event.REASONING_OPENED: State.REASONING,
            Event.ANSWER_BEGUN: State.ANSWER,
            Event.CALL_CONFIRMED: State.CALL,
        },
    }
)


class PieceReader(ABC):
    """Reads the output while the parser is in one state. A reader that changes the state in the middle of a
    text has no literals of its own.
    """

    state: State
    literals: tuple[str, ...] = ()
    shows_text = False
    """Whether text without literals goes straight to the answer."""

    @property
    def half_tag_is_text(self) -> bool:
        """Whether the beginning of a literal that the token limit cuts is text, and not markup."""
        return True

    @abstractmethod
    def text(self, piece: TextPiece) -> None:
        """Reads text that holds none of the literals."""

    @abstractmethod
    def tag(self, tag: FoundTag) -> bool:
        """Reads a tag. Returns False if the tag means nothing here and is text."""

    @abstractmethod
    def end(self, finish: EngineFinish) -> None:
        """The output is over. What the reader pushes back is still read. If the state changes, the output
        ends for the next reader too.
        """


class Turn:
    """One choice: its state, what is still to be read, and the events so far.

    `reader` reads in the current state. `current` reads what comes next: the same reader, or one that holds a
    tag which may open something until that is decided. With `begins_with_call`, a `<` at the beginning of the
    answer can only be that of a call. With `calls_may_be_bare`, a call may come without its tag, in families
    that write calls so. The turn is `in_call` until the arguments of a call are whole, and has an
    `unclosed_call` until its closing tag.
    """

    reader: PieceReader
    current: PieceReader

    def __init__(
        self,
        choice: int,
        request: ChatRequest,
        syntax: Syntax,
        control_tokens: Container[str],
        new_call_id: Callable[[], str],
    ) -> None:
        self.syntax = syntax
        # If no tool may be called, call tags are text.
        self.tools: Mapping[str, Tool] = {}
        if syntax.calls != "none":
            self.tools = request.callable_tools
        self.call_tags = syntax.call if self.tools else None
        self.answers_json = not isinstance(request.answer_format, FreeText)
        self.begins_with_call = bool(self.tools) and (
            self.answers_json or request.tool_choice.mode == "required"
        )
        self.calls_may_be_bare = request.calls_may_be_bare
        self.answer = Answer(self._show, request.stop, calls=bool(self.tools))
        self.events: list[ChatEvent] = []
        self.queue: deque[TextPiece | FoundTag] = deque()
        self.n_calls = 0
        self.in_call = False
        self.unclosed_call = False
        self.has_thought = False
        self._overrun = False
        self._choice = choice
        self._most_calls = 1 if request.one_call else None
        self._control_tokens = control_tokens
        self._new_call_id = new_call_id
        self._called = ""
        self._signatures: dict[str, Signature] = {}

    def begin(self, reader: PieceReader) -> None:
        """Enters the first state."""
        self.reader = reader
        self.current = reader

    def move(self, event: Event, reader: PieceReader) -> None:
        """Changes the state: `reader` is that of the state which follows by `TRANSITIONS`."""
        if TRANSITIONS[self.reader.state].get(event) is not reader.state:
            raise RuntimeError(f"{event} does not lead from {self.reader.state} to {reader.state}")
        self.begin(reader)

    @property
    def stopped(self) -> bool:
        """Whether nothing that follows belongs to the reply."""
        return self.answer.stopped or self._overrun

    def spelled(self, tags: Iterable[str]) -> tuple[str, ...]:
        """The tags among these that are recognised by their text."""
        return tuple(tag for tag in tags if tag not in self._control_tokens)

    def push_back(self, items: Iterable[TextPiece | FoundTag]) -> None:
        """Has these read before everything else in the queue."""
        self.queue.extendleft(reversed([*items]))

    def think(self, text: str) -> None:
        self.has_thought = True
        self.events.append(ReasoningDelta(self._choice, text))

    def call(self, name: str) -> bool:
        """Begins a call. Returns False if the request allows no more calls; the turn is then over."""
        if self.n_calls == self._most_calls:
            self._overrun = True
            return False
        started = ToolCallStarted(self._choice, self.n_calls, id=self._new_call_id(), name=name)
        self.events.append(started)
        self.n_calls += 1
        self.in_call = True
        self.unclosed_call = True
        self._called = name
        return True

    def write(self, text: str) -> None:
        """Adds to the JSON text of the arguments of the call."""
        self.events.append(ToolCallDelta(self._choice, self.n_calls - 1, text))

    def signature(self) -> Signature:
        """The signature of the called tool, made once for all of its calls."""
        name = self._called
        if name not in self._signatures:
            self._signatures[name] = Signature(self.tools[name].parameters)
        return self._signatures[name]

    def _show(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> None:
        self.events.append(TextDelta(self._choice, text, logprobs))
