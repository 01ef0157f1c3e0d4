"""The events of a reply: what the parser makes of tokens, and what every response is made of.

Per choice: any number of deltas, then one `Finished`. After the last choice, one `Completed`. Concatenated
deltas are the whole reply (see `result.ReplyFold`); there is no other way to make one.
"""

from enum import StrEnum
from typing import TypeAlias

from tessera.core.generation import TokenLogprob
from tessera.core.usage import Usage
from tessera.core.values import value


class FinishReason(StrEnum):
    """Why a choice ended, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"


@value
class ReasoningDelta:
    """More of the reasoning."""

    choice: int
    text: str


@value
class TextDelta:
    """More of the visible answer, with the logprobs of its tokens when they were asked for."""

    choice: int
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@value
class ToolCallStarted:
    """The `call`-th call of the choice is to the function `name`."""

    choice: int
    call: int
    id: str
    name: str


@value
class ToolCallDelta:
    """More of the JSON text of the call's arguments."""

    choice: int
    call: int
    arguments: str


@value
class Finished:
    """The choice is whole."""

    choice: int
    reason: FinishReason


@value
class Completed:
    """The reply is whole; nothing follows."""

    usage: Usage


ChatEvent: TypeAlias = ReasoningDelta | TextDelta | ToolCallStarted | ToolCallDelta | Finished | Completed
