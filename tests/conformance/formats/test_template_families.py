"""Prompts of families whose own templates write them: what `transformers` would write of the same
conversation, in the form that the template wants it.
"""

import json
import re
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tests.conformance.formats.test_rendering import text_of
from tests.template_families import TEMPLATED, Templated
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
from tessera.errors import RequestError
from tessera.formats.base import ChatFormat, Control, Plain
from tessera.formats.template_families import TEMPLATE_FAMILIES

every_template = pytest.mark.parametrize("templated", TEMPLATED, ids=lambda each: each.file)
DEFINITION = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
WEATHER = Tool("get_weather", {}, DEFINITION)
LEON, ROMA = '{"city": "León"}', '{"city": "Roma", "days": 2}'
CALL = AssistantMessage(tool_calls=(ToolCall("call00001", "get_weather", LEON),))
CALLS = AssistantMessage(
    tool_calls=(ToolCall("call00001", "get_weather", LEON), ToolCall("call00002", "get_weather", ROMA))
)
RESULT, SECOND = ToolMessage("sunny", "call00001"), ToolMessage('{"sky": "<clear>"}', "call00002")
SYSTEM, HELLO, ANSWER, BYE = (
    SystemMessage("Be brief."),
    UserMessage("Hello"),
    AssistantMessage("Hi."),
    UserMessage("Bye"),
)
CONVERSATIONS: dict[str, tuple[Message, ...]] = {
    "a greeting": (HELLO,),
    "a system message": (SYSTEM, HELLO),
    "turns": (SYSTEM, HELLO, ANSWER, BYE),
    "empty contents": (SystemMessage(""), UserMessage("")),
    "white space": (UserMessage("  a\n\n b "),),
    "a call": (HELLO, CALL),
    "a result": (SYSTEM, HELLO, CALL, RESULT),
    "an answer to a result": (HELLO, CALL, RESULT, ANSWER, BYE),
    "two rounds of calls": (HELLO, CALL, RESULT, ANSWER, BYE, CALL, RESULT),
    "parallel calls": (HELLO, CALLS, RESULT, SECOND),
    "parallel results in another order": (HELLO, CALLS, SECOND, RESULT, ANSWER, BYE),
}


def openai(message: Message, templated: Templated) -> dict[str, Any]:
    """The message as a dictionary of the family's documentation."""
    deepseek = templated.family.startswith("deepseek")
    match message:
        case SystemMessage(text):
            return {"role": "system", "content": text}
        case UserMessage(text):
            return {"role": "user", "content": text}
        case ToolMessage(text, id):
            return {"role": "tool", "content": text, "tool_call_id": id}
        case AssistantMessage(text, _, calls) if calls:
            functions = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {
                        "name": call.name,
                        "arguments": call.arguments if deepseek else json.loads(call.arguments),
                    },
                }
                for call in calls
            ]
            return {
                "role": "assistant",
                "content": text or (None if deepseek else ""),
                "tool_calls": functions,
            }
        case AssistantMessage(text):
            return {"role": "assistant", "content": text}


def reference(templated: Templated, messages: tuple[Message, ...], **variables: Any) -> str:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(
        value, ensure_ascii=False, indent=indent
    )
    return environment.from_string(templated.source).render(
        messages=[openai(each, templated) for each in messages],
        add_generation_prompt=True,
        bos_token=templated.bos,
        eos_token=templated.eos,
        **{"enable_thinking": False, **variables},
    )


def with_ids(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages with the identifiers that Kimi's models write."""
    numbers, new, given = count(), dict[str, str](), list[Message]()
    for message in messages:
        if isinstance(message, AssistantMessage):
            new |= {call.id: f"functions.{call.name}:{next(numbers)}" for call in message.tool_calls}
            calls = tuple(replace(call, id=new[call.id]) for call in message.tool_calls)
            given.append(replace(message, tool_calls=calls))
        elif isinstance(message, ToolMessage):
            given.append(replace(message, tool_call_id=new[message.tool_call_id]))
        else:
            given.append(message)
    return tuple(given)


def one_by_one(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages with parallel calls as turns of their own, each with its result."""
    if CALLS not in messages:
        return messages
    i = messages.index(CALLS)
    first, second = (AssistantMessage(tool_calls=(call,)) for call in CALLS.tool_calls)
    return (*messages[:i], first, RESULT, second, SECOND, *messages[i + 3 :])


@every_template
def test_the_family_is_found(templated: Templated) -> None:
    chosen = templated.format()
    assert chosen.name == templated.family


@every_template
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_prompt_is_the_templates_own(templated: Templated, name: str) -> None:
    messages = CONVERSATIONS[name]
    given = one_by_one(messages) if templated.family == "llama3" else messages
    given = with_ids(given) if templated.family == "kimi-k2" else given
    expected = reference(templated, given, thinking=False)
    if expected.endswith("<think>\n"):
        expected += "\n</think>\n\n"  # the template always reasons
    assert text_of(templated.format().render(ChatRequest(messages))) == expected


@every_template
@given(data=st.data())
def test_any_texts_are_written_as_the_template_writes_them(templated: Templated, data: st.DataObject) -> None:
    """Texts may spell control tokens, but those of reasoning, which templates look for in earlier replies."""
    reasoning = ("think", "channel")
    tokens = (*templated.control, templated.eos)
    spelled = [token for token in tokens if all(each not in token.lower() for each in reasoning)]
    texts = st.lists(st.sampled_from([*spelled, "\n", " "]) | st.text(max_size=6), max_size=3).map("".join)
    said = data.draw(st.lists(texts, min_size=1, max_size=5))
    turns = [(UserMessage, AssistantMessage)[i % 2](text) for i, text in enumerate(said)]
    messages = (*data.draw(st.just(()) | st.tuples(st.builds(SystemMessage, texts))), *turns)
    render = templated.format().render
    try:
        expected = reference(templated, messages, thinking=False)
    except TemplateError:
        with pytest.raises(RequestError):
            render(ChatRequest(messages))
        return
    if expected.endswith("<think>\n"):
        expected += "\n</think>\n\n"
    assert text_of(render(ChatRequest(messages))) == expected


@every_template
@pytest.mark.parametrize("name", ["a greeting", "a system message", "a result"])
def test_the_templates_own_tools_are_written(templated: Templated, name: str) -> None:
    messages = CONVERSATIONS[name]
    written = text_of(templated.format().render(ChatRequest(messages, tools=(WEATHER,))))
    if templated.family.startswith("deepseek"):
        assert json.dumps(DEFINITION) in written  # the template knows no tools
        return
    given = with_ids(messages) if templated.family == "kimi-k2" else messages
    assert written == reference(templated, given, tools=[DEFINITION])


@every_template
@pytest.mark.parametrize("name", ["a greeting", "turns", "a result"])
def test_both_modes_begin_as_the_mode_demands(templated: Templated, name: str) -> None:
    chosen = templated.format()
    tags = chosen.syntax.reasoning
    assert (Mode.THINKING in chosen.sampling) is (tags is not None)
    if tags is None:
        return
    asked = ChatRequest(CONVERSATIONS[name])
    direct = chosen.render(asked)
    thinking = chosen.render(replace(asked, mode=Mode.THINKING))
    opening = TEMPLATE_FAMILIES[chosen.name].opening
    assert text_of(thinking).rstrip().endswith(opening.format(tags.open).strip())
    assert Control(tags.open) in thinking[-2:]
    assert direct[-2:] != thinking[-2:]
    if templated.family == "deepseek-v3.1" and name != "a result":
        assert direct[-1] == Control(tags.close)
        assert text_of(thinking) == reference(templated, asked.messages, thinking=True)
    if templated.family == "deepseek-v3" and name != "a result":
        assert direct[-4:] == (Control(tags.open), Plain("\n\n"), Control(tags.close), Plain("\n\n"))
        assert text_of(thinking) == reference(templated, asked.messages)


@every_template
def test_no_client_writes_control_tokens(templated: Templated) -> None:
    spelled = "".join(templated.control) + templated.eos
    messages = (
        SystemMessage(spelled),
        UserMessage(spelled),
        AssistantMessage("", None, (ToolCall("call00001", "get_weather", json.dumps({"city": spelled})),)),
        ToolMessage(spelled, "call00001"),
    )
    tool = Tool("get_weather", {}, {"type": "function", "function": {"name": "x", "description": spelled}})
    plain = Tool("get_weather", {}, {"type": "function", "function": {"name": "x", "description": "d"}})
    render = templated.format().render
    written = render(ChatRequest(messages, tools=(tool,)))
    harmless = tuple(
        replace(each, tool_calls=(ToolCall("call00001", "get_weather", '{"city": "x"}'),))
        if isinstance(each, AssistantMessage)
        else replace(each, text="x")
        for each in messages
    )
    assert [each for each in written if isinstance(each, Control)] == [
        each for each in render(ChatRequest(harmless, tools=(plain,))) if isinstance(each, Control)
    ]
    assert sum(spelled in each.text for each in written if isinstance(each, Plain)) >= 2


@pytest.mark.parametrize(
    "templated",
    [each for each in TEMPLATED if TEMPLATE_FAMILIES[each.family].arguments == "json"],
    ids=lambda each: each.file,
)
@pytest.mark.parametrize(
    "spelled", ['{"n": 1e5, "x": [1.50, -0.0], "big": 12345678901234567890123}', '{"city": "Le']
)
def test_the_arguments_of_a_call_keep_their_spelling(templated: Templated, spelled: str) -> None:
    """Also of one that the token limit cut."""
    call = AssistantMessage(tool_calls=(ToolCall("call00001", "get_weather", spelled),))
    assert spelled in text_of(templated.format().render(ChatRequest((HELLO, call, RESULT))))


def written_call(file: str, arguments: str) -> str:
    """What a template writes of a call, and what follows."""
    templated = next(each for each in TEMPLATED if each.file == file)
    call = AssistantMessage(tool_calls=(ToolCall("call00001", "get_weather", arguments),))
    written = text_of(templated.format().render(ChatRequest((HELLO, call, RESULT))))
    return written.partition("get_weather")[2]


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ('{"a": 1e5, "b": [1.50], "c": "x\\ny"}', '{a:100000.0,b:[1.5],c:<|"|>x\ny<|"|>}<tool_call|>'),
        ('{"b": {"d": null, "c": true}, "a": "Le', '{a:<|"|>Le<|"|>,b:{c:true,d:None}}<tool_call|>'),
        ("no object", '{arguments:<|"|>no object<|"|>}<tool_call|>'),
        ("{}", "{}<tool_call|>"),
    ],
)
def test_gemma_4_gets_the_arguments_of_a_call_as_values(arguments: str, written: str) -> None:
    assert written_call("gemma4", arguments).startswith(written)


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (
            '{"a": 1e5, "b": {"x":[1.50]}, "c": "x\\ny"}',
            '<parameter=a>\n1e5\n</parameter>\n<parameter=b>\n{"x": [1.50]}\n</parameter>\n'
            "<parameter=c>\nx\ny\n</parameter>\n</function>",
        ),
        ('{"a": "Le', "<parameter=a>\nLe\n</parameter>\n</function>"),
        ("{}", "</function>"),
    ],
)
def test_a_template_that_writes_parameters_gets_their_raw_text(arguments: str, written: str) -> None:
    assert written_call("qwen3-coder", arguments).removeprefix(">\n").startswith(written)


def test_an_identifier_that_a_template_refuses_is_replaced() -> None:
    """The same identifier for a call and its result, which need not be that of the client."""
    nemo = next(each for each in TEMPLATED if each.file == "mistral-nemo")
    call = replace(CALL.tool_calls[0], id="call_" + "x" * 24)
    messages = (HELLO, AssistantMessage(tool_calls=(call,)), ToolMessage("sunny", call.id))
    written = text_of(nemo.format().render(ChatRequest(messages)))
    (first,) = re.findall(r'"id": "([0-9A-Za-z]{9})"', written)
    assert re.findall(r'"call_id": "([^"]*)"', written) == [first]


def test_reasoning_in_a_tool_loop_is_a_block_where_the_template_wants_blocks() -> None:
    ministral = next(each for each in TEMPLATED if each.file == "ministral-3")
    render = ministral.format().render
    thought = replace(CALL, reasoning="Hm.")
    assert "[THINK]Hm.[/THINK][TOOL_CALLS]" in text_of(render(ChatRequest((HELLO, thought, RESULT))))
    later = ChatRequest((HELLO, thought, RESULT, ANSWER, BYE))
    assert "Hm." not in text_of(render(later))
    assert "Hm." in text_of(render(replace(later, preserve_thinking=True)))


PLAIN = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor %}"
    "{{ '<|assistant|>' }}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('No system role.') }}{% endif %}"


@dataclass(frozen=True)
class Unknown:
    id: str
    source: str
    tokens: tuple[str, ...] = ("<|end|>",)

    @property
    def format(self) -> ChatFormat:
        return choose_format(self.source, control_tokens=self.tokens, eos="<|end|>")


UNKNOWN = (Unknown("plain", PLAIN), Unknown("no system role", NO_SYSTEM + PLAIN))


@pytest.mark.parametrize("unknown", UNKNOWN, ids=lambda each: each.id)
def test_an_unknown_template_gets_tools_and_calls_as_text(unknown: Unknown) -> None:
    chosen = unknown.format
    assert (chosen.name, chosen.syntax.calls) == ("template", "json")
    asked = ChatRequest((HELLO, CALLS, RESULT, SECOND, BYE), tools=(WEATHER,))
    written = text_of(chosen.render(asked))
    calls = "\n".join(
        f'<tool_call>\n{{"name": "get_weather", "arguments": {each}}}\n</tool_call>' for each in (LEON, ROMA)
    )
    results = "\n".join(f"<tool_response>\n{each.text}\n</tool_response>" for each in (RESULT, SECOND))
    assert f"<|assistant|>{calls}<|end|><|user|>{results}\nBye<|end|><|assistant|>" in written
    before_user = "" if unknown.id == "plain" else "<|user|>"
    assert written.startswith(before_user or "<|system|># Tools")
    assert written.index(json.dumps(DEFINITION)) < written.index("Hello")
    assert ("<|system|>" in written) is (unknown.id == "plain")


def test_a_template_that_writes_tagged_calls_writes_them_itself() -> None:
    source = (
        "{{ tools | tojson if tools }}{% for m in messages %}{{ '<|' + m.role + '|>' + (m.content or '') }}"
        "{% for c in m.tool_calls or [] %}{{ '<tool_call>\n' + (c.function | tojson) + '\n</tool_call>' }}"
        "{% endfor %}<|end|>{% endfor %}"
    )
    chosen = Unknown("", source).format
    assert chosen.name == "tagged-json"
    written = text_of(chosen.render(ChatRequest((HELLO, CALL, RESULT), tools=(WEATHER,))))
    assert written.startswith(json.dumps([DEFINITION]))
    assert (
        f'<tool_call>\n{{"name": "get_weather", "arguments": {LEON}}}\n</tool_call><|end|><|tool|>sunny'
        in written
    )
