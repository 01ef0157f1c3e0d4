"""What our renderers write is what a model's own Jinja template writes, for any conversation.

The reference is plain Jinja with the options of `transformers`.
"""

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tests.templates import choose_format, own_format

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Message,
    Mode,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.formats.base import Control, Plain, Segment
from tessera.formats.hermes import HERMES

TEMPLATES = Path(__file__).with_name("templates")
HERMES_TEMPLATE = (TEMPLATES / "hermes.jinja").read_text()
SMOLLM2_TEMPLATE = (TEMPLATES / "smollm2.jinja").read_text().removesuffix("\n")
CONTROL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]

spelling_markup = st.sampled_from([*CONTROL, "</think>", "<tool_call>", "\n", " "])
texts = st.lists(spelling_markup | st.text(max_size=6), max_size=4).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
names = st.from_regex("[a-z_]{1,8}", fullmatch=True)
# Compact, or with escapes: what templates write of it is the same.
arguments = st.builds(
    lambda given, separators, ascii: json.dumps(given, separators=separators, ensure_ascii=ascii),
    st.dictionaries(texts, values, max_size=3),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.booleans(),
)
calls = st.builds(ToolCall, st.just("call_1"), names, arguments)
assistants = st.builds(AssistantMessage, texts, st.none() | texts, st.lists(calls, max_size=2).map(tuple))
turns = st.builds(UserMessage, texts) | assistants | st.builds(ToolMessage, texts, st.just("call_1"))
definitions = st.fixed_dictionaries({"type": st.just("function"), "function": st.dictionaries(texts, values)})
tools = st.builds(Tool, names, st.just({}), definitions)


@st.composite
def requests(draw: st.DrawFn, *, plain: bool = False) -> ChatRequest:
    system = draw(st.none() | st.builds(SystemMessage, texts))
    rest = draw(st.lists(st.builds(UserMessage, texts) if plain else turns, max_size=5))
    messages: list[Message] = [*([system] if system else []), UserMessage(draw(texts)), *rest]
    return ChatRequest(
        messages=tuple(messages),
        mode=Mode.DIRECT if plain else draw(st.sampled_from(Mode)),
        preserve_thinking=draw(st.booleans()),
        tools=() if plain else tuple(draw(st.lists(tools, max_size=2))),
    )


def openai(message: Message) -> dict[str, object]:
    match message:
        case SystemMessage(text):
            return {"role": "system", "content": text}
        case UserMessage(text):
            return {"role": "user", "content": text}
        case ToolMessage(text, id):
            return {"role": "tool", "content": text, "tool_call_id": id}
        case AssistantMessage(text, reasoning, tool_calls):
            functions = [
                {"function": {"name": c.name, "arguments": json.loads(c.arguments)}} for c in tool_calls
            ]
            return {
                "role": "assistant",
                "content": text,
                "reasoning_content": reasoning,
                "tool_calls": functions,
            }


def reference(source: str, request: ChatRequest) -> str:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(source).render(
        messages=[openai(message) for message in request.messages],
        tools=[tool.definition for tool in request.tools] or None,
        add_generation_prompt=True,
        enable_thinking=request.mode is Mode.THINKING,
        preserve_thinking=request.preserve_thinking,
    )


def text_of(segments: tuple[Segment, ...]) -> str:
    return "".join(s.token if isinstance(s, Control) else s.text for s in segments)


@given(requests())
def test_hermes_writes_what_the_template_writes(request: ChatRequest) -> None:
    assert text_of(HERMES.render(request)) == reference(HERMES_TEMPLATE, request)


@given(requests(plain=True))
def test_smollm2_is_recognised_and_written_as_its_template_writes(request: ChatRequest) -> None:
    assert SMOLLM2.name == "hermes"
    assert text_of(SMOLLM2.render(request)) == reference(SMOLLM2_TEMPLATE, request)


SMOLLM2 = choose_format(SMOLLM2_TEMPLATE, control_tokens=CONTROL, eos="<|im_end|>")

OWN = {
    "hermes": own_format(HERMES_TEMPLATE, control_tokens=CONTROL, eos="<|im_end|>"),
    "smollm2": own_format(SMOLLM2_TEMPLATE, control_tokens=CONTROL, eos="<|im_end|>"),
}


@given(requests(plain=True))
@pytest.mark.parametrize(("name", "source"), [("hermes", HERMES_TEMPLATE), ("smollm2", SMOLLM2_TEMPLATE)])
def test_a_models_own_template_writes_the_same(name: str, source: str, request: ChatRequest) -> None:
    assert text_of(OWN[name].render(request)) == reference(source, request)


def defused(value: object) -> object:
    """The same value, with markup in its texts made harmless."""
    match value:
        case str():
            return value.replace("<", "(")
        case dict():
            return {defused(key): defused(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(map(defused, value))
        case _ if is_dataclass(value) and not isinstance(value, type):
            return replace(
                value, **{field.name: defused(getattr(value, field.name)) for field in fields(value)}
            )
        case _:
            return value


def markup(segments: tuple[Segment, ...]) -> list[Segment]:
    return [segment for segment in segments if not isinstance(segment, Plain)]


@given(requests())
def test_only_hermes_itself_writes_markup(request: ChatRequest) -> None:
    assert markup(HERMES.render(request)) == markup(
        HERMES.render(replace(request, messages=defused(request.messages), tools=defused(request.tools)))
    )


@given(requests(plain=True))
@pytest.mark.parametrize("name", OWN)
def test_only_the_template_itself_writes_markup(name: str, request: ChatRequest) -> None:
    render = OWN[name].render
    assert markup(render(request)) == markup(render(replace(request, messages=defused(request.messages))))
