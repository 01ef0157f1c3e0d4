"""A chat request as the service understands it, free of any wire format.

`wire/` makes these values from OpenAI's JSON; `prompt/` turns them into tokens. Everything is frozen, and
every union is closed: match it and end with `assert_never`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = Mapping[str, Json]


class Mode(StrEnum):
    """Whether the model reasons before it answers."""

    DIRECT = "direct"
    THINKING = "thinking"


@dataclass(frozen=True, slots=True)
class SystemMessage:
    """Instructions; a request has at most one after `wire/` has merged them, and it comes first."""

    text: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    """A turn of the person."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call in the history. `arguments` is the JSON text of an object as it was sent; of a call that its
    token limit cut it is a part, and a client may send any other text.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class AssistantMessage:
    """A turn of the model; `text` is empty when it only called tools, `reasoning` is None when none was
    sent.
    """

    text: str = ""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolMessage:
    """What a tool answered to the call `tool_call_id`."""

    text: str
    tool_call_id: str


Message: TypeAlias = SystemMessage | UserMessage | AssistantMessage | ToolMessage


def last_user_turn(messages: Sequence[Message]) -> int:
    """The index of the user's last message; -1 if there is none."""
    return max((i for i, each in enumerate(messages) if isinstance(each, UserMessage)), default=-1)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call. `definition` is the tool object exactly as it was sent: templates print
    it. `param` is where the client sent the parameters, for errors.
    """

    name: str
    parameters: JsonObject
    definition: JsonObject
    strict: bool = False
    param: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Which calls the reply may hold: `mode` none, auto or required, among `names` (None: all tools).

    `named` says that the client forced one function by its name; such a reply is one call, and finishes
    with `stop`.
    """

    mode: Literal["none", "auto", "required"] = "auto"
    names: frozenset[str] | None = None
    named: bool = False


@dataclass(frozen=True, slots=True)
class FreeText:
    """No constraint on the answer."""


@dataclass(frozen=True, slots=True)
class AnyJsonObject:
    """The answer is one JSON object."""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The answer validates against `schema`. `param` is where the client sent that, for errors."""

    name: str
    schema: JsonObject | bool
    strict: bool = False
    param: str = field(default="answer_format", compare=False)


AnswerFormat: TypeAlias = FreeText | AnyJsonObject | JsonSchema


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """The fields of `generation.Sampling` that a client may send. None means the model's default for the
    mode.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request, checked and complete. `top_logprobs` is None when no logprobs were asked for."""

    messages: tuple[Message, ...]
    model: str | None = None
    mode: Mode = Mode.DIRECT
    preserve_thinking: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = ToolChoice()
    parallel_tool_calls: bool = True
    answer_format: AnswerFormat = FreeText()
    sampling: SamplingOptions = SamplingOptions()
    max_output_tokens: int | None = None
    thinking_budget_tokens: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    top_logprobs: int | None = None

    @property
    def one_call(self) -> bool:
        """Whether the reply may hold one call only: a function that is forced by its name is called once."""
        return self.tool_choice.named or not self.parallel_tool_calls

    @property
    def calls_may_be_bare(self) -> bool:
        """Whether a reply that begins like a call can be nothing else."""
        return isinstance(self.answer_format, FreeText) or self.tool_choice.mode == "required"

    @property
    def callable_tools(self) -> Mapping[str, Tool]:
        """The tools that the reply may call, by name."""
        choice = self.tool_choice
        if choice.mode == "none":
            return {}
        return {tool.name: tool for tool in self.tools if choice.names is None or tool.name in choice.names}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as far as generation cares: the salt of the prefix cache, the priority (higher goes first),
    the request's id, by which it is found in the logs of every process, the window that prompt and output
    must keep within (None: the model's own), and the limit of a reply whose request sets none (None: the
    model's).
    """

    cache_salt: bytes = b""
    priority: int = 0
    trace_id: str = ""
    context_tokens: int | None = None
    default_output_tokens: int | None = None
