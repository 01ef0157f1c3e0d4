"""What the states of the parser share: one choice of one request, being read.

A state reads the text that is left when its literals are taken out, and the tags: those literals, and
control tokens. A state that moves on to another in the middle of a text has no literals of its own.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass

from tessera.core.chat import ChatRequest, FreeText, Tool
from tessera.core.events import ChatEvent, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from tessera.core.generation import EngineFinish, TokenLogprob
from tessera.parsing.answer import Answer
from tessera.parsing.matcher import Tag
from tessera.parsing.syntax import Syntax
from tessera.schemas.signature import Signature
from tessera.text.pieces import TextPiece


class State(ABC):
    """Where the parser is in the output."""

    literals: tuple[str, ...] = ()
    reasoning = False
    shows_text = False
    """Text without literals goes straight to the answer."""

    @property
    def half_tag_is_text(self) -> bool:
        """Whether the beginning of a literal that the length cuts is text, and not markup."""
        return True

    @abstractmethod
    def text(self, piece: TextPiece) -> None:
        """Read text that holds none of the literals."""

    @abstractmethod
    def tag(self, tag: Tag) -> bool:
        """Read a tag. False: it means nothing here, and is text."""

    @abstractmethod
    def end(self, finish: EngineFinish) -> None:
        """The output is over; what the state leaves to `Turn.again` is still read."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call being read; `write` adds to the JSON text of its arguments."""

    tool: Tool
    signature: Callable[[], Signature]
    write: Callable[[str], None]


class Turn:
    """One choice: where it is, what is still to be read, and the events so far.

    `stopped` says that nothing more is wanted. `begins_with_call` says that the request allows no `<` at the
    beginning of the answer but that of a call. A call is `in_call` until its arguments are whole, and
    `unclosed_call` until its closing tag.
    """

    state: State

    def __init__(
        self,
        choice: int,
        request: ChatRequest,
        syntax: Syntax,
        control_tokens: Container[str],
        new_call_id: Callable[[], str],
    ) -> None:
        self.syntax = syntax
        self.tools = _callable_tools(request, syntax)
        self.call_tags = syntax.call if self.tools else None
        self.answers_json = not isinstance(request.answer_format, FreeText)
        self.begins_with_call = bool(self.tools) and (
            self.answers_json or request.tool_choice.mode == "required"
        )
        self.answer = Answer(self._show, request.stop, calls=bool(self.tools))
        self.events: list[ChatEvent] = []
        self.queue: deque[TextPiece | Tag] = deque()
        self.n_calls = 0
        self.in_call = self.unclosed_call = False
        self._overrun = False
        self._choice = choice
        self._most_calls = 1 if request.one_call else None
        self._control_tokens = control_tokens
        self._new_call_id = new_call_id
        self._signatures: dict[str, Signature] = {}

    @property
    def stopped(self) -> bool:
        """Nothing that follows belongs to the reply."""
        return self.answer.stopped or self._overrun

    def spelled(self, tags: Iterable[str]) -> tuple[str, ...]:
        """Those of the tags that are recognised by their text."""
        return tuple(tag for tag in tags if tag not in self._control_tokens)

    def again(self, items: Iterable[TextPiece | Tag]) -> None:
        """Let the state that is next read these first."""
        self.queue.extendleft(reversed([*items]))

    def think(self, text: str) -> None:
        """More of the reasoning."""
        self.events.append(ReasoningDelta(self._choice, text))

    def call(self, name: str) -> Call | None:
        """Begin a call; None, and the turn is over, when it is one more than the request allows."""
        if self.n_calls == self._most_calls:
            self._overrun = True
            return None
        index = self.n_calls
        self.n_calls += 1
        self.in_call = self.unclosed_call = True
        self.events.append(ToolCallStarted(self._choice, index, self._new_call_id(), name))
        tool = self.tools[name]
        return Call(
            tool,
            lambda: self._signature(tool),
            lambda text: self.events.append(ToolCallDelta(self._choice, index, text)),
        )

    def _signature(self, tool: Tool) -> Signature:
        """Made once for all calls of the tool."""
        if tool.name not in self._signatures:
            self._signatures[tool.name] = Signature(tool.parameters)
        return self._signatures[tool.name]

    def _show(self, text: str, logprobs: tuple[TokenLogprob, ...]) -> None:
        self.events.append(TextDelta(self._choice, text, logprobs))


def _callable_tools(request: ChatRequest, syntax: Syntax) -> Mapping[str, Tool]:
    """The tools that the reply may call; none when it may not, and then call tags are text."""
    choice = request.tool_choice
    if syntax.call is None or syntax.calls == "none" or choice.mode == "none":
        return {}
    return {tool.name: tool for tool in request.tools if choice.names is None or tool.name in choice.names}
