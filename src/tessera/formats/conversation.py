"""The input of a model's own template, and its output as segments. Nothing here runs a template.

A conversation cannot write markup. Control tokens that its strings spell are replaced by placeholders before
the template runs. The output is then cut at the control tokens that the template wrote, and the placeholders
become plain text again.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import msgspec

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Json,
    Mode,
    SystemMessage,
    UserMessage,
    last_user_turn,
)
from tessera.core.generation import SamplingDefaults
from tessera.formats.arguments import as_mapping, as_text, members, respelled
from tessera.formats.base import ChatFormat, Control, Plain, Segment
from tessera.formats.placeholders import Placeholders, masked
from tessera.formats.template_families import TEMPLATE_FAMILIES, UNKNOWN, TemplateFamily
from tessera.formats.template_messages import (
    MessageObject,
    as_object,
    calls_as_text,
    results_in_calls,
    thinking_blocks,
    with_tools,
)
from tessera.parsing.syntax import Tags

_BLOCKS = Tags("[THINK]", "[/THINK]")
"""The tags of templates that get reasoning as a block of the content."""
_CHANNEL = Tags("<|channel>", "<channel|>")
_REASONING = (Tags("<think>", "</think>"), _BLOCKS, _CHANNEL)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a template wants a conversation: the name of its family, whether it writes calls and their results,
    with arguments as an object or as text, the content of a message that only calls, whether results are part
    of the message that called, whether it prints the definitions of tools, and whether it takes a system
    message.
    """

    family: str = UNKNOWN
    writes_calls: bool = True
    text_arguments: bool = False
    empty_text: str | None = None
    results_in_calls: bool = False
    prints_tools: bool = True
    instructed: bool = True


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A template, its dialect, and its variables besides the conversation."""

    source: str
    control_tokens: tuple[str, ...]
    eos: str
    bos: str = ""
    dialect: Dialect = Dialect()

    @property
    def family(self) -> TemplateFamily:
        return TEMPLATE_FAMILIES[self.dialect.family]

    @property
    def reasoning(self) -> Tags | None:
        """The tags of reasoning, if the template knows any."""
        return next((tags for tags in _REASONING if tags.close in self.source), None)

    @property
    def reasons_like(self) -> TemplateFamily:
        """The family whose models reason as this template's do; it may write calls like no family."""
        return TEMPLATE_FAMILIES["gemma4"] if self.reasoning == _CHANNEL else self.family

    @property
    def modes(self) -> tuple[Mode, ...]:
        return (Mode.DIRECT, Mode.THINKING) if self.reasoning else (Mode.DIRECT,)

    def format(
        self, defaults: SamplingDefaults, render: Callable[[ChatRequest], tuple[Segment, ...]]
    ) -> ChatFormat:
        """A format with this template's syntax, which renders by `render`."""
        like = self.reasons_like.syntax
        syntax = replace(
            self.family.syntax,
            ends=(self.eos, *self.family.syntax.ends),
            reasoning=self.reasoning,
            before_close=like.before_close,
            after_close=like.after_close,
        )
        sampling = dict.fromkeys(self.modes, defaults)
        return ChatFormat(self.dialect.family, render, syntax=syntax, sampling=sampling)

    def conversation(self, request: ChatRequest) -> "TemplateInput":
        """The input of the template for a request."""
        longest_first = sorted(self.control_tokens, key=len, reverse=True)
        markup = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")
        placeholders = Placeholders(markup)
        variables: dict[str, Json] = {
            "messages": self._messages(request, placeholders),
            "tools": [masked(tool.definition, placeholders.mask) for tool in request.tools]
            if request.tools and self.dialect.prints_tools
            else None,
            "add_generation_prompt": True,
            "enable_thinking": request.mode is Mode.THINKING,
            "thinking": request.mode is Mode.THINKING,
            "preserve_thinking": request.preserve_thinking,
            "bos_token": self.bos,
            "eos_token": self.eos,
        }
        return TemplateInput(variables, markup, placeholders, partial(self._completed, mode=request.mode))

    def _messages(self, request: ChatRequest, placeholders: Placeholders) -> list[MessageObject]:
        dialect, family, mask = self.dialect, self.family, placeholders.mask
        arguments = partial(self._arguments, placeholders=placeholders)
        messages = [*family.rearranged(request.messages)]
        last_user = last_user_turn(messages)
        objects: list[MessageObject] = []
        for i, message in enumerate(messages):
            written = as_object(message, mask, arguments, dialect.empty_text)
            reasoning = message.reasoning if isinstance(message, AssistantMessage) else None
            if reasoning and self.reasoning == _BLOCKS and (i > last_user or request.preserve_thinking):
                written = thinking_blocks(written)
            objects.append(written)
        if not dialect.writes_calls:
            objects = calls_as_text(objects, family)
        if dialect.results_in_calls:
            objects = results_in_calls(objects)
        if request.tools and objects and not dialect.prints_tools:
            objects = with_tools(objects, request.tools, family, mask, instructed=dialect.instructed)
        return objects

    def _arguments(self, text: str, placeholders: Placeholders) -> Json:
        if self.dialect.text_arguments or not self.dialect.writes_calls:
            return placeholders.mask(respelled(text))
        match self.family.arguments:
            case "json":
                return placeholders.as_json(respelled(text))
            case "texts":
                texts = members(text)
                given = {"arguments": text} if texts is None else {n: as_text(v) for n, v in texts.items()}
                return masked(given, placeholders.mask)
            case "values":
                return masked(as_mapping(text), placeholders.mask)

    def _completed(self, written: str, mode: Mode) -> str:
        """The output of the template, which may have opened the reasoning itself or not, with what it takes
        for the model to reason, or not to.
        """
        tags, family = self.reasoning, self.reasons_like
        if tags is None:
            return written
        opening = family.opening.format(tags.open)
        opened = written.rstrip().endswith(opening.strip())
        match mode:
            case Mode.THINKING if not opened:
                return f"{written}{opening}"
            case Mode.DIRECT if opened:
                syntax = family.syntax
                return f"{written}{syntax.before_close}{tags.close}{''.join(syntax.after_close)}"
            case _:
                return written


class Rendering(msgspec.Struct):
    """The text that a template rendered, or why it could not."""

    text: str = ""
    problem: str | None = None


class TemplateInput(NamedTuple):
    """The variables of a template, and what it takes to turn its output into segments. `completed` adds what
    the mode demands.
    """

    variables: dict[str, Json]
    markup: re.Pattern[str]
    placeholders: Placeholders
    completed: Callable[[str], str]

    def segments(self, written: str) -> tuple[Segment, ...]:
        """The output of the template, cut at its control tokens."""
        parts = self.markup.split(self.completed(self.placeholders.with_json(written)))
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
