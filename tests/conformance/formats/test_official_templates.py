"""gpt-oss, GLM: our renderers write what the models' own templates write, but where that is said here.

The templates are those that OpenAI (Apache 2.0) and Z.ai (MIT) publish with their models.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tests.conformance.formats.test_rendering import arguments, calls, defused, markup, names, text_of, texts
from tests.templates import choose_format

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
from tessera.formats.base import ChatFormat
from tessera.formats.glm import GLM, GLM_4_7, GLM_TOKENS
from tessera.formats.gpt_oss import GPT_OSS, GPT_OSS_TOKENS

TEMPLATES = Path(__file__).with_name("templates")
OPENED = "<|channel|>analysis<|message|>"


def source(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text().removesuffix("\n")


@cache
def template(name: str) -> Callable[..., str]:
    """The template of a model, with the options of `transformers`."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value, ensure_ascii=False: json.dumps(
        value, ensure_ascii=ensure_ascii
    )
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    environment.globals["raise_exception"] = pytest.fail
    return environment.from_string(source(name)).render


def message_for(template_name: str, message: Message) -> dict[str, Any]:
    match message:
        case SystemMessage(text):
            return {"role": "system", "content": text}
        case UserMessage(text):
            return {"role": "user", "content": text}
        case ToolMessage(text, id):
            return {"role": "tool", "content": text, "tool_call_id": id}
        case AssistantMessage(text, reasoning, tool_calls):
            called = [
                {"id": c.id, "function": {"name": c.name, "arguments": json.loads(c.arguments)}}
                for c in tool_calls
            ]
            reasoned = "thinking" if template_name == "gpt-oss" else "reasoning_content"
            return {
                "role": "assistant",
                "content": text,
                **({"tool_calls": called} if called else {}),
                **({} if reasoning is None else {reasoned: reasoning}),
            }


def reference(name: str, request: ChatRequest) -> str:
    return template(name)(
        messages=[message_for(name, message) for message in request.messages],
        tools=[tool.definition for tool in request.tools] or None,
        add_generation_prompt=True,
        enable_thinking=request.mode is Mode.THINKING,
        clear_thinking=not request.preserve_thinking,
    )


# What a schema of a parameter may be that the template of gpt-oss can write.
scalars = st.sampled_from(["string", "number", "integer", "boolean", "object", "null", "array"])
described = st.fixed_dictionaries({}, optional={"description": texts, "nullable": st.booleans()})


def with_inner(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    inside = st.fixed_dictionaries(
        {"type": scalars},
        optional={
            "items": inner,
            "properties": st.dictionaries(names, inner, max_size=3),
            "required": st.lists(names, max_size=2),
            "default": st.integers() | texts,
        },
    )
    union = st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=3)})
    several = st.fixed_dictionaries({"type": st.lists(scalars, min_size=1, max_size=3)})
    return st.builds(lambda a, b: {**a, **b}, inside | union | several, described)


leaves = st.builds(
    lambda kind, more: {"type": kind, **more},
    scalars,
    st.fixed_dictionaries(
        {}, optional={"enum": st.lists(texts, min_size=1, max_size=3), "description": texts}
    ),
)
schemas = st.recursive(leaves, with_inner, max_leaves=4)


@st.composite
def functions(draw: st.DrawFn) -> Tool:
    properties = draw(st.dictionaries(names, schemas, max_size=3))
    for spec in properties.values():
        if "default" in spec and ("enum" in spec or "oneOf" in spec):
            spec["default"] = draw(texts)
    parameters = {
        "type": "object",
        "properties": properties,
        **draw(st.fixed_dictionaries({}, optional={"required": st.lists(names, max_size=3)})),
    }
    name = draw(names)
    function = {"name": name, "description": draw(texts), "parameters": parameters}
    return Tool(name, parameters, {"type": "function", "function": function})


@st.composite
def conversations(draw: st.DrawFn, *, one_call: bool = False) -> ChatRequest:
    """Any conversation. With `one_call`, one that the template of gpt-oss neither refuses nor cuts: a message
    has one call at most, with reasoning or a text, and a result follows a call.
    """
    most_calls = 1 if one_call else 2
    assistants = st.builds(
        AssistantMessage, texts, st.none() | texts, st.lists(calls, max_size=most_calls).map(tuple)
    )
    turns = st.builds(UserMessage, texts) | assistants | st.builds(ToolMessage, texts, st.just("call_1"))
    messages: list[Message] = []
    called = False
    if draw(st.booleans()):
        messages.append(SystemMessage(draw(texts)))
    for message in draw(st.lists(turns, max_size=6)):
        if isinstance(message, AssistantMessage):
            called = bool(message.tool_calls)
            if one_call and called and message.reasoning and message.text:
                message = replace(message, text="")
        if isinstance(message, ToolMessage) and one_call and not called:
            continue
        messages.append(message)
    return ChatRequest(
        messages=(*messages, UserMessage(draw(texts))),
        mode=draw(st.sampled_from(Mode)),
        tools=tuple(draw(st.lists(functions(), max_size=2))),
    )


@given(conversations(one_call=True))
def test_gpt_oss_writes_what_its_template_writes_and_opens_or_closes_the_analysis(
    request: ChatRequest,
) -> None:
    opening = OPENED + ("" if request.mode is Mode.THINKING else "<|end|><|start|>assistant")
    assert text_of(GPT_OSS.render(request)) == reference("gpt-oss", request) + opening


@given(conversations())
def test_glm_4_6_writes_what_its_template_writes_and_opens_the_reasoning(request: ChatRequest) -> None:
    opening = "\n<think>" if request.mode is Mode.THINKING else ""
    assert text_of(GLM.render(request)) == reference("glm-4.6", request) + opening


@given(conversations(), st.booleans())
def test_glm_4_7_writes_what_its_template_writes(request: ChatRequest, preserve: bool) -> None:
    request = replace(request, preserve_thinking=preserve)
    assert text_of(GLM_4_7.render(request)) == reference("glm-4.7", request)


FAMILIES = {"gpt-oss": GPT_OSS, "glm": GLM, "glm-4.7": GLM_4_7}
every_format = pytest.mark.parametrize("chat_format", FAMILIES.values(), ids=FAMILIES)


@every_format
@given(request=conversations())
def test_only_the_family_itself_writes_markup(chat_format: ChatFormat, request: ChatRequest) -> None:
    inert = replace(request, messages=defused(request.messages), tools=defused(request.tools))
    assert markup(chat_format.render(request)) == markup(chat_format.render(inert))


@pytest.mark.parametrize(
    ("name", "tokens", "chat_format", "without_tokens"),
    [
        ("gpt-oss", GPT_OSS_TOKENS, GPT_OSS, "template"),
        ("glm-4.6", GLM_TOKENS, GLM, "tagged-glm"),
        ("glm-4.7", GLM_TOKENS, GLM_4_7, "tagged-glm-4.7"),
    ],
)
def test_a_template_is_known_to_be_of_its_family(
    name: str, tokens: frozenset[str], chat_format: ChatFormat, without_tokens: str
) -> None:
    assert choose_format(source(name), control_tokens=tokens, eos="<|endoftext|>") is chat_format
    assert choose_format(source(name), control_tokens=["<|end|>"], eos="<|end|>").name == without_tokens


def rendered(*messages: Message, preserve_thinking: bool = False) -> str:
    """The messages of a conversation with gpt-oss, without what the template puts before and after them."""
    text = text_of(
        GPT_OSS.render(ChatRequest((*messages, UserMessage("?")), preserve_thinking=preserve_thinking))
    )
    return text.partition("<|end|>")[2].rpartition("<|start|>user<|message|>?<|end|>")[0]


TWO_CALLS = (ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g", "{}"))


def test_all_calls_of_a_message_are_written_and_results_name_their_calls() -> None:
    assert rendered(
        AssistantMessage("Two.", "Hm.", TWO_CALLS), ToolMessage("B", "b"), ToolMessage("A", "a")
    ) == (
        "<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>"
        "<|start|>assistant<|channel|>commentary<|message|>Two.<|end|>"
        '<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{"x": 1}<|call|>'
        "<|start|>assistant to=functions.g<|channel|>commentary json<|message|>{}<|call|>"
        '<|start|>functions.g to=assistant<|channel|>commentary<|message|>"B"<|end|>'
        '<|start|>functions.f to=assistant<|channel|>commentary<|message|>"A"<|end|>'
    )


def test_reasoning_before_an_answer_stays_only_if_it_is_preserved() -> None:
    answer = "<|start|>assistant<|channel|>final<|message|>Yes.<|end|>"
    said = AssistantMessage("Yes.", "Hm.")
    assert rendered(said) == answer
    assert rendered(said, preserve_thinking=True) == (
        f"<|start|>assistant<|channel|>analysis<|message|>Hm.<|end|>{answer}"
    )


@given(arguments)
def test_a_function_without_a_description_has_no_comment(text: str) -> None:
    tool = Tool("f", {}, {"function": {"name": "f", "parameters": json.loads(text)}})
    assert "//" not in text_of(GPT_OSS.render(ChatRequest((UserMessage("x"),), tools=(tool,)))).replace(
        "// namespace functions", ""
    )
