"""What a model wrote, sent back by its client, stands in the next prompt as the model wrote it."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.families import ASKED, FAMILIES, TAGS, Family
from tests.strategies import tool
from tests.templates import own_format

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Message,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.formats import registry
from tessera.formats.base import ChatFormat, Control
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3

SPELLED = ["1e5", "1.50", "-0.0", "0.10", "1E+2", "2.0", "12345678901234567890123", "-1.0e-7", "7"]
ROOM: Tool = tool(
    "book",
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "price": {"type": "number"},
            "nights": {"type": ["integer", "number"]},
            "extras": {"type": "array"},
            "where": {"type": "object"},
        },
    },
)
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
number = st.sampled_from(SPELLED)
string = st.text(st.characters(codec="utf-8", exclude_characters="<>\n\\"), min_size=1, max_size=8).filter(
    lambda text: text.strip() == text
)
quoted = string.map(lambda text: json.dumps(text, ensure_ascii=False))


@st.composite
def arguments(draw: st.DrawFn) -> str:
    """JSON text with numbers in many spellings."""
    given = {
        "name": draw(quoted),
        "price": draw(number),
        "nights": draw(number),
        "extras": f"[{draw(number)}, {draw(quoted)}, null]",
        "where": f'{{"lat": {draw(number)}, "at": [{draw(number)}, {{}}]}}',
    }
    names = draw(st.lists(st.sampled_from(sorted(given)), unique=True))
    return "{" + ", ".join(f'"{name}": {given[name]}' for name in names) + "}"


def turn(chat_format: ChatFormat, call: ToolCall) -> str:
    """The model's turn in the history."""
    segments = chat_format.render(ChatRequest((UserMessage("x"), AssistantMessage("", None, (call,)))))
    text = "".join(each.token if isinstance(each, Control) else each.text for each in segments)
    return text.split("<|im_start|>assistant\n")[1].removeprefix("<think>\n\n</think>\n\n")


def parts(text: str) -> list[str]:
    return re.split("(" + "|".join(map(re.escape, [*TAGS, "<|im_end|>"])) + ")", text)


@every_family
@given(text=arguments())
def test_a_call_comes_back_as_it_was_written(family: Family, text: str) -> None:
    written = turn(family.format, ToolCall("c", "book", text))
    (read,) = family.read(parts(written), replace(ASKED, tools=(ROOM,))).tool_calls
    assert read.arguments == text
    assert turn(family.format, ToolCall(read.id, read.name, read.arguments)) == written


@every_family
@given(text=arguments(), data=st.data())
def test_a_call_that_was_cut_comes_back_as_far_as_it_was_written(
    family: Family, text: str, data: st.DataObject
) -> None:
    written = turn(family.format, ToolCall("c", "book", text))
    ends = written.rindex("</tool_call>") - 1
    begins = written.index("book") + len("book") + 2
    cut = written[: data.draw(st.integers(begins, ends))]
    calls = family.read(parts(cut), replace(ASKED, tools=(ROOM,)), "length").tool_calls
    for read in calls:
        again = turn(family.format, ToolCall(read.id, read.name, read.arguments))
        body = (
            cut.removesuffix("\n").rpartition("</parameter>")[0] if family.format is QWEN3 else cut.rstrip()
        )
        assert again.startswith(body if "<parameter=" in body or family.format is HERMES else "<tool_call>")


TEMPLATE = (
    "{% if messages[-1].role == 'system' %}{{ raise_exception('No user query found.') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
    "{% for k, v in c.function.arguments | items %}{{ k }}={{ v }};{% endfor %}"
    "{{ c.function.arguments | tojson }}{% endfor %}<|im_end|>\n{% endfor %}"
)
STRICT = (
    "{% if messages | selectattr('role', 'equalto', 'user') | list | length == 0 %}"
    "{{ raise_exception('No user query found.') }}{% endif %}"
)


def own_template(source: str) -> ChatFormat:
    return own_format(source, control_tokens=("<|im_start|>", "<|im_end|>"), eos="<|im_end|>")


FORMATS: dict[str, ChatFormat] = {
    **registry.FORMATS,
    "template": own_template(TEMPLATE),
    "strict template": own_template(STRICT + TEMPLATE),
}
every_format = pytest.mark.parametrize("chat_format", FORMATS.values(), ids=FORMATS)

TEXTS = [
    *(
        '{"city": "Le',
        '{"city": ',
        '{"city"',
        "{",
        '{"a": 1.',
        "[1]",
        '"x"',
        "1",
        "null",
        "hello",
        "{'a': 1}",
    ),
    *(
        "NaN",
        '{"a": NaN}',
        '{"a": 1e400}',
        '{"a": "\\ud800"}',
        '{"a":' * 3000,
        "[" * 3000,
        '{"a": "\ud83d\\ude00"}',
    ),
]


def rendered(chat_format: ChatFormat, *messages: Message) -> str:
    segments = chat_format.render(ChatRequest(messages))
    return "".join(each.token if isinstance(each, Control) else each.text for each in segments)


@every_format
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_no_arguments_are_refused(chat_format: ChatFormat, text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    call = AssistantMessage("", None, (ToolCall("c", "f", text),))
    assert rendered(chat_format, UserMessage("x"), call, ToolMessage("y", "c")).encode()


@every_format
@pytest.mark.parametrize(
    "messages",
    [
        (SystemMessage("Be brief."),),
        (AssistantMessage("Hi."),),
        (SystemMessage("Be brief."), AssistantMessage("What was said, in short.")),
        (ToolMessage("42", "c"),),
        (SystemMessage("s"), AssistantMessage("", None, (ToolCall("c", "f", "{}"),)), ToolMessage("42", "c")),
        (UserMessage("<tool_response>\n42\n</tool_response>"),),
    ],
    ids=["system", "assistant", "compacted", "result", "tool loop", "result as a user's"],
)
def test_a_conversation_without_a_user_is_rendered_as_it_stands(
    chat_format: ChatFormat, messages: tuple[Message, ...]
) -> None:
    text = rendered(chat_format, *messages)
    at = [text.index(message.text) for message in messages if message.text]
    assert at == sorted(at)
