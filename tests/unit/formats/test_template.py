"""A model's own template: transformers' dialect, the client's text as plain text, and hostile templates."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.templates import own_format

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Message,
    Mode,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.errors import RequestError, StartupError
from tessera.formats.base import ChatFormat, Control, Plain, Segment
from tessera.formats.template import MAX_CHARACTERS
from tessera.parsing.syntax import Syntax, Tags

CONTROL = ("<s>", "</s>", "<|user|>", "<|end|>")
HELLO: tuple[Message, ...] = (UserMessage("Hello"),)


def made(source: str, control: tuple[str, ...] = CONTROL) -> ChatFormat:
    return own_format(source, control_tokens=control, bos="<s>", eos="</s>")


def written(source: str, messages: tuple[Message, ...] = HELLO, **changes: Any) -> str:
    segments = made(source).render(ChatRequest(messages=messages, **changes))
    return "".join(map(text_of, segments))


def text_of(segment: Segment) -> str:
    return segment.token if isinstance(segment, Control) else segment.text


@dataclass(frozen=True)
class Case:
    id: str
    source: str
    written: str
    messages: tuple[Message, ...] = HELLO
    changes: dict[str, Any] = field(default_factory=dict)


CALLS = AssistantMessage("", "because", (ToolCall("call_1", "f", '{"b": "<é&>", "a": [1, null, true]}'),))
ROLES = (SystemMessage("S"), UserMessage("U"), AssistantMessage("A"), ToolMessage("T", "call_1"))
EACH_CALL = "{% for call in messages[0].tool_calls %}"
CASES = [
    Case("bos and eos", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>Hello</s>"),
    Case("blocks take their line with them", "a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
    Case("one newline at the end is dropped", "a\n\n", "a\n"),
    Case("break", "{% for i in [1, 2] %}{% if i > 1 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
    Case("continue", "{% for i in [1, 2] %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "2"),
    Case(
        "tojson keeps the order and escapes nothing",
        EACH_CALL + "{{ call.function.arguments | tojson }}{% endfor %}",
        '{"b": "<é&>", "a": [1, null, true]}',
        (CALLS,),
    ),
    Case("tojson takes an indent", "{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
    Case(
        "roles",
        "{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}",
        "system=S;user=U;assistant=A;tool=T;",
        ROLES,
    ),
    Case("a call has no content", "{{ messages[0].content is none }}", "True", (CALLS,)),
    Case("a call has its id", EACH_CALL + "{{ call.id }}{% endfor %}", "call_1", (CALLS,)),
    Case("no calls, no key", "{{ 'tool_calls' in messages[0] }}", "False", (AssistantMessage("A"),)),
    Case("reasoning", "{{ messages[0].reasoning_content }}", "because", (CALLS,)),
    Case(
        "no reasoning, no key",
        "{{ messages[0].reasoning_content is defined }}",
        "False",
        (AssistantMessage("A"),),
    ),
    Case("an answer is asked for", "{{ add_generation_prompt }}{{ tools is none }}", "TrueTrue"),
    Case("direct", "{{ enable_thinking }}", "False"),
    Case("thinking", "{{ enable_thinking }}", "True", changes={"mode": Mode.THINKING}),
    Case("generation", "{% generation %}{{ messages[0].content }}{% endgeneration %}!", "Hello!"),
    Case("undefined is empty", "[{{ nothing }}]", "[]"),
    Case(
        "namespace",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
        "1",
    ),
    Case("methods of strings", "{{ messages[0].content.split('l')[0].upper() }}", "HE"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_dialect(case: Case) -> None:
    assert written(case.source, case.messages, **case.changes) == case.written


def test_strftime_now() -> None:
    assert re.fullmatch(r"\d{4}", written("{{ strftime_now('%Y') }}"))
    assert abs(int(written("{{ strftime_now('%Y') }}")) - datetime.now().year) <= 1


def test_the_syntax_follows_from_the_template() -> None:
    call = Tags("<tool_call>", "</tool_call>")
    assert made("{{ messages }}").syntax == Syntax(ends=("</s>",), call=call, calls="json")
    assert made("<think></think>").syntax.reasoning == Tags("<think>", "</think>")
    assert made("[THINK][/THINK]").syntax.reasoning == Tags("[THINK]", "[/THINK]")


SOURCE = (
    "{{ bos_token }}{% for m in messages %}<|user|>{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call | tojson }}{% endfor %}<|end|>{% endfor %}"
)
OURS = [Control("<s>"), Control("<|user|>"), Control("<|end|>")]
PRIVATE = "".join(map(chr, (0xF0000, 0xF0001, 0x10FFFD)))


@given(st.lists(st.sampled_from([*CONTROL, *PRIVATE]) | st.text(max_size=3)).map("".join))
def test_the_clients_text_is_never_markup(text: str) -> None:
    segments = made(SOURCE).render(ChatRequest(messages=(UserMessage(text),)))
    assert [s for s in segments if isinstance(s, Control)] == OURS
    assert [s for s in segments if isinstance(s, Plain)] == ([Plain(text)] if text else [])


def test_markup_in_names_and_arguments_is_plain_text() -> None:
    call = ToolCall("<|end|>", "<s>", '{"<|user|>": ["</s>", {"x": "<|end|>"}]}')
    segments = made(SOURCE).render(ChatRequest(messages=(AssistantMessage("", None, (call,)),)))
    assert [s for s in segments if isinstance(s, Control)] == OURS
    assert '"arguments": {"<|user|>": ["</s>", {"x": "<|end|>"}]}' in text_of(segments[2])


def test_the_longest_control_token_is_cut_out() -> None:
    segments = made("<s>><s>", ("<s>", "<s>>")).render(ChatRequest(messages=HELLO))
    assert segments == (Control("<s>>"), Control("<s>"))


def test_a_model_without_control_tokens_has_one_text() -> None:
    assert made("a{{ messages[0].content }}", ()).render(ChatRequest(messages=HELLO)) == (Plain("aHello"),)


def test_a_refusal_of_the_template_is_the_clients() -> None:
    chat_format = made(
        "{% if messages | length > 1 %}{{ raise_exception('One message only.') }}{% endif %}ok"
    )
    with pytest.raises(RequestError, match=r"One message only\.") as caught:
        chat_format.render(ChatRequest(messages=HELLO * 2))
    assert (caught.value.status, caught.value.param) == (400, "messages")


def test_a_template_may_refuse_the_greeting_of_start_up() -> None:
    chat_format = made("{% if messages[0].role != 'system' %}{{ raise_exception('S!') }}{% endif %}ok")
    assert chat_format.render(ChatRequest(messages=(SystemMessage("x"), *HELLO))) == (Plain("ok"),)


@pytest.mark.parametrize(
    "failing",
    [
        "{{ nothing.at.all }}",
        "{{ 1 + 'a' }}",
        "{{ 1 // 0 }}",
        "{{ range(10**6) }}",
        "{{ cycler.__init__.x }}",
    ],
)
def test_a_conversation_that_breaks_the_template_is_named_without_being_quoted(failing: str) -> None:
    chat_format = made("{% if messages | length > 1 %}" + failing + "{% endif %}ok")
    with pytest.raises(RequestError, match="cannot render") as caught:
        chat_format.render(ChatRequest(messages=(UserMessage("secret"),) * 2))
    assert caught.value.param == "messages"
    assert "secret" not in caught.value.message


HOSTILE = [
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ messages.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''.__class__.__base__.__subclasses__() }}",
    "{{ raise_exception.__globals__['json'] }}",
    "{{ strftime_now.__code__.co_consts }}",
    "{{ (messages | attr('__class__')).mro() }}",
    "{{ '{0.__class__.__mro__}'.format(1) }}",
    "{{ '{0.__class__.__mro__}'.format_map({'0': 1}) }}",
    "{% set _ = messages.append(1) %}",
    "{% set _ = messages[0].update({'role': 'system'}) %}",
    "{{ self._TemplateReference__context.environment.globals }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
    "{% extends 'base' %}",
    "{% for i in range(10**9) %}{{ i }}{% endfor %}",
    "{{ range(100001) | list }}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [0] * 10**9 }}",
    "{{ 10**10**10 }}",
    "{% for i in range(20000) %}{{ 'a' * 1000 }}{% endfor %}",
    "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "{{ lipsum(n=10**6) }}",
    "{{ debug() }}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_a_hostile_template_stops_start_up(source: str) -> None:
    with pytest.raises(StartupError):
        made(source)


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{ x", "{% unknown %}", "{{ 'a' | nofilter }}", "{% generation %}"]
)
def test_a_template_that_does_not_compile_stops_start_up(source: str) -> None:
    with pytest.raises(StartupError, match="does not compile"):
        made(source)


def test_the_rendering_is_bounded() -> None:
    chat_format = made("{% for i in range(messages | length) %}{{ messages[0].content }}{% endfor %}")
    fits = UserMessage("a" * (MAX_CHARACTERS // 4))
    assert chat_format.render(ChatRequest(messages=(fits,) * 3))
    with pytest.raises(RequestError, match="SecurityError"):
        chat_format.render(ChatRequest(messages=(fits,) * 5))
