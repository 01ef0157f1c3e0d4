"""The input of a model's own template, and its output as segments. Nothing here runs a template.

A conversation cannot write markup. Control tokens that its strings spell are replaced by placeholders before
the template runs. The output is then cut at the control tokens that the template wrote, and the placeholders
become plain text again.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple, assert_never

import msgspec

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Json,
    Message,
    Mode,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from tessera.core.generation import SamplingDefaults
from tessera.formats.arguments import as_mapping
from tessera.formats.base import ChatFormat, Control, Plain, Segment
from tessera.parsing.syntax import Syntax, Tags

_FIRST_PLACEHOLDER = 0xF0000  # the private-use planes
_LAST_PLACEHOLDER = 0x10FFFD


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A template, and its variables besides the conversation."""

    source: str
    control_tokens: tuple[str, ...]
    eos: str
    bos: str = ""

    def format(
        self,
        sampling: Mapping[Mode, SamplingDefaults],
        render: Callable[[ChatRequest], tuple[Segment, ...]],
    ) -> ChatFormat:
        """A format with this template's syntax, which renders by `render`. It has no tools."""
        reasoning = Tags("<think>", "</think>") if "</think>" in self.source else None
        syntax = Syntax(ends=(self.eos,), reasoning=reasoning)
        return ChatFormat("template", render, syntax=syntax, sampling=sampling)

    def conversation(self, request: ChatRequest) -> "TemplateInput":
        """The input of the template for a request."""
        longest_first = sorted(self.control_tokens, key=len, reverse=True)
        markup = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        placeholders = Placeholders(markup)
        variables: dict[str, Json] = {
            "messages": [masked(as_object(message), placeholders.mask) for message in request.messages],
            "tools": None,
            "add_generation_prompt": True,
            "enable_thinking": request.mode is Mode.THINKING,
            "preserve_thinking": request.preserve_thinking,
            "bos_token": self.bos,
            "eos_token": self.eos,
        }
        return TemplateInput(variables, markup, placeholders)


class Rendering(msgspec.Struct):
    """The text that a template rendered, or why it could not."""

    text: str = ""
    problem: str | None = None


class TemplateInput(NamedTuple):
    """The variables of a template, and what it takes to turn its output into segments."""

    variables: dict[str, Json]
    markup: re.Pattern[str]
    placeholders: "Placeholders"

    def segments(self, written: str) -> tuple[Segment, ...]:
        """The output of the template, cut at its control tokens."""
        parts = self.markup.split(written)
        return tuple(
            Control(part) if i % 2 else Plain(self.placeholders.restore(part))
            for i, part in enumerate(parts)
            if part
        )


def with_user_turn(request: ChatRequest) -> ChatRequest | None:
    """The request with an empty user turn, which many templates require; None if it already has one."""
    messages = request.messages
    if any(isinstance(message, UserMessage) for message in messages):
        return None
    n_leading = int(isinstance(messages[0], SystemMessage)) if messages else 0
    return replace(request, messages=(*messages[:n_leading], UserMessage(""), *messages[n_leading:]))


class Placeholders:
    """Private-use characters in place of the control tokens that a conversation spells. A private-use
    character in the conversation gets one too, so that `restore` cannot mistake it for a placeholder.
    """

    def __init__(self, markup: re.Pattern[str]) -> None:
        self._special = re.compile(f"{markup.pattern}|[{chr(_FIRST_PLACEHOLDER)}-{chr(_LAST_PLACEHOLDER)}]")
        self._of: dict[str, str] = {}

    def mask(self, text: str) -> str:
        """The text with placeholders in place of control tokens."""
        return self._special.sub(lambda found: self._stand_in(found[0]), text)

    def _stand_in(self, special: str) -> str:
        return self._of.setdefault(special, chr(_FIRST_PLACEHOLDER + len(self._of)))

    def restore(self, text: str) -> str:
        """The text with what the placeholders stand for."""
        return text.translate({ord(stand_in): special for special, stand_in in self._of.items()})


def masked(value: Json, mask: Callable[[str], str]) -> Json:
    """The value with all of its strings masked."""
    match value:
        case str():
            return mask(value)
        case Mapping():
            return {mask(key): masked(item, mask) for key, item in value.items()}
        case bool() | int() | float() | None:
            return value
        case _:
            return [masked(item, mask) for item in value]


def as_object(message: Message) -> dict[str, Json]:
    """The message as OpenAI's object, the form that templates expect."""
    match message:
        case SystemMessage():
            return {"role": "system", "content": message.text}
        case UserMessage():
            return {"role": "user", "content": message.text}
        case ToolMessage():
            return {"role": "tool", "content": message.text, "tool_call_id": message.tool_call_id}
        case AssistantMessage():
            functions = (
                (c.id, {"name": c.name, "arguments": as_mapping(c.arguments)}) for c in message.tool_calls
            )
            calls: list[Json] = [{"id": id, "type": "function", "function": each} for id, each in functions]
            return {
                "role": "assistant",
                "content": None if calls and not message.text else message.text,
                **({"tool_calls": calls} if calls else {}),
                **({} if message.reasoning is None else {"reasoning_content": message.reasoning}),
            }
        case _:
            assert_never(message)
