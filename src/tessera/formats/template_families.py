"""The families whose prompts their own templates write, and what is known of each.

A template is of a family if it writes a call in the history as the models of the family do
(`formats.dialects`). To add such a family, add a row to `TEMPLATE_FAMILIES`.
"""

import string
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from types import MappingProxyType
from typing import Literal

from tessera.core.chat import AssistantMessage, Message, ToolMessage
from tessera.formats.base import ChatFormat
from tessera.formats.glm import GLM, GLM_4_7
from tessera.formats.qwen3 import QWEN3
from tessera.parsing.syntax import CallForm, Syntax, Tags

_SHORT_ID = 9
_DIGITS = string.digits + string.ascii_letters


@dataclass(frozen=True, slots=True)
class TemplateFamily:
    """A family's syntax, whose `ends` are control tokens that end a turn, besides the one that the model's
    files name. Whether it has reasoning, and in which tags, is a matter of the template.

    `opening` is what opens the reasoning, around its tag. `arguments` is how templates take those of calls:
    as an object that they print as JSON, as the raw text of each parameter, or as values. `result` is what
    stands before the result of a function, if templates differ in where they look for results.
    `rearranged` makes a conversation acceptable to the family's templates.
    """

    syntax: Syntax
    opening: str = "{}\n"
    arguments: Literal["json", "texts", "values"] = "json"
    result: str = ""
    rearranged: Callable[[Sequence[Message]], Iterable[Message]] = tuple


def _json_family(
    call: Tags,
    form: CallForm | None = None,
    *,
    ends: tuple[str, ...] = (),
    around_reasoning: str = "\n\n",
    rearranged: Callable[[Sequence[Message]], Iterable[Message]] = tuple,
) -> TemplateFamily:
    """A family whose calls are JSON, in a `form` or as Hermes models write them. `around_reasoning` stands
    between the reasoning and the answer, and its first character at both ends of the reasoning.
    """
    syntax = Syntax(
        ends,
        call=call,
        calls="framed" if form else "json",
        form=form,
        before_close=around_reasoning[:1],
        after_close=(around_reasoning,) if around_reasoning else (),
    )
    return TemplateFamily(syntax, "{}" + around_reasoning[:1], rearranged=rearranged)


def _by_parameter(known: ChatFormat, opening: str) -> TemplateFamily:
    """The templates that write calls like a family with a renderer of its own, but other prompts."""
    return TemplateFamily(replace(known.syntax, ends=()), opening, arguments="texts")


def one_call_a_turn(messages: Sequence[Message]) -> Iterator[Message]:
    """Each call becomes a turn of its own, with its result after it."""
    at = 0
    while at < len(messages):
        message = messages[at]
        at += 1
        if not isinstance(message, AssistantMessage) or len(message.tool_calls) < 2:
            yield message
            continue
        results: defaultdict[str, deque[Message]] = defaultdict(deque)
        while at < len(messages) and isinstance(result := messages[at], ToolMessage):
            results[result.tool_call_id].append(result)
            at += 1
        for i, call in enumerate(message.tool_calls):
            yield replace(AssistantMessage() if i else message, tool_calls=(call,))
            if results[call.id]:
                yield results[call.id].popleft()
        for others in results.values():
            yield from others


def short_ids(messages: Sequence[Message]) -> Iterator[Message]:
    """Identifiers of nine letters and digits, which Mistral's templates demand."""
    for message in messages:
        yield _with_ids(message, lambda _, id: _short(id))


def _short(call_id: str) -> str:
    if len(call_id) == _SHORT_ID and call_id.isalnum() and call_id.isascii():
        return call_id
    number = int.from_bytes(sha256(call_id.encode(errors="surrogatepass")).digest())
    return "".join(_DIGITS[number // len(_DIGITS) ** i % len(_DIGITS)] for i in range(_SHORT_ID))


def numbered_ids(messages: Sequence[Message]) -> Iterator[Message]:
    """Identifiers of the form `functions.NAME:0`, counted from the first call of the conversation."""
    new: dict[str, str] = {}
    numbers = count()

    def numbered(name: str, call_id: str) -> str:
        if name:
            new[call_id] = f"functions.{name}:{next(numbers)}"
        return new.get(call_id, call_id)

    for message in messages:
        yield _with_ids(message, numbered)


def _with_ids(message: Message, renamed: Callable[[str, str], str]) -> Message:
    """The message with other identifiers of calls. `renamed` gets the name of the function, which is empty
    for a result.
    """
    match message:
        case AssistantMessage():
            calls = tuple(replace(call, id=renamed(call.name, call.id)) for call in message.tool_calls)
            return replace(message, tool_calls=calls)
        case ToolMessage():
            return replace(message, tool_call_id=renamed("", message.tool_call_id))
        case _:
            return message


def _llama3() -> TemplateFamily:
    """One call a reply, without any tag. In a reply that may be JSON too, the tag of code precedes a call."""
    form = CallForm(
        first='{"name": "',
        between='", "parameters": ',
        next=None,
        last="}",
        other_first=('{"type": "function", "name": "',),
        bare=True,
    )
    ends = ("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
    return _json_family(Tags("<|python_tag|>", ""), form, ends=ends, rearranged=one_call_a_turn)


def _mistral_list(first: str) -> TemplateFamily:
    form = CallForm(first, '", "arguments": ', next='}, {"name": "', last="}]")
    return _json_family(Tags("[TOOL_CALLS]", ""), form, around_reasoning="", rearranged=short_ids)


def _mistral_named(between: str, *, id: str = "", after_id: str = "") -> TemplateFamily:
    tags = ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]")
    form = CallForm("", between, next=tags[0], last="", tags=tags, id=id, after_id=after_id)
    return _json_family(Tags(tags[0], ""), form, around_reasoning="", rearranged=short_ids)


def _deepseek(
    before: str, between: str, after: str, *, separator: str, around_reasoning: str
) -> TemplateFamily:
    begin, end, separation = "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"
    calls = Tags("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")
    form = CallForm(
        first=begin + before,
        between=between,
        next=after + end + separator + begin + before,
        last=after + end + calls.close,
        tags=(begin, end, separation, calls.open, calls.close),
    )
    return _json_family(calls, form, around_reasoning=around_reasoning)


def _kimi() -> TemplateFamily:
    begin, middle, end = "<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"
    calls = Tags("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>")
    form = CallForm(
        first=f"{begin}functions.",
        between=":",
        next=f"{end}{begin}functions.",
        last=end + calls.close,
        tags=(begin, middle, end, calls.open, calls.close),
        id="[0-9]{1,4}",
        after_id=middle,
    )
    return _json_family(calls, form, ends=("<|im_end|>",), around_reasoning="", rearranged=numbered_ids)


def _gemma4() -> TemplateFamily:
    """Calls are followed by their results within the turn, so the tag of results ends what the model says."""
    syntax = Syntax(
        ends=("<turn|>", "<|tool_response>", "<eos>"),
        call=Tags("<|tool_call>", "<tool_call|>"),
        calls="gemma4",
        after_close=(),
        line="",
        call_line="",
    )
    return TemplateFamily(syntax, "{}thought\n", arguments="values", result="response:{}{{")


UNKNOWN = "template"
"""The name of models whose template writes calls in no known form, or not at all."""

TEMPLATE_FAMILIES: Mapping[str, TemplateFamily] = MappingProxyType(
    {
        "llama3": _llama3(),
        # The versions are those of Mistral's own tokenizers.
        "mistral-v3": _mistral_list(' [{"name": "'),
        "mistral-v3-tekken": _mistral_list('[{"name": "'),
        "mistral-v11": _mistral_named("[CALL_ID]", id="[0-9A-Za-z]{9}", after_id="[ARGS]"),
        "mistral-v13": _mistral_named("[ARGS]"),
        "deepseek-v3": _deepseek(
            "function<｜tool▁sep｜>", "\n```json\n", "\n```", separator="\n", around_reasoning="\n\n"
        ),
        "deepseek-v3.1": _deepseek("", "<｜tool▁sep｜>", "", separator="", around_reasoning=""),
        "kimi-k2": _kimi(),
        "gemma4": _gemma4(),
        "tagged-xml": _by_parameter(QWEN3, "{}\n"),
        "tagged-glm": _by_parameter(GLM, "\n{}"),
        "tagged-glm-4.7": _by_parameter(GLM_4_7, "{}"),
        "tagged-json": _json_family(Tags("<tool_call>", "</tool_call>")),
        UNKNOWN: replace(_json_family(Tags("<tool_call>", "</tool_call>")), arguments="values"),
    }
)
