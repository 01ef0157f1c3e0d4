"""Prompts of Gemma 3, as its template writes them, and with tools, which that does not have."""

from dataclasses import replace

from tests.families import Family
from tests.strategies import tool
from tests.templates import choose_format

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
from tessera.formats.base import Plain, Tag
from tessera.formats.gemma3 import GEMMA3, GEMMA3_TOKENS
from tessera.formats.hermes import HERMES

# What the model's own template does, in other words.
TEMPLATE = """
{%- set said = messages[1:] if messages[0].role == 'system' else messages %}
{{- '<bos>' }}
{%- for m in said %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}
{%- if loop.first and messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}
{{- m.content | trim + '<end_of_turn>\n' }}
{%- endfor %}
{{- '<start_of_turn>model\n' if add_generation_prompt }}"""
WEATHER = tool("get_weather", {"properties": {"city": {"type": "string"}}})
CALL = ToolCall("a", "get_weather", '{"city": "León"}')


def text(*messages: Message, request: ChatRequest | None = None) -> str:
    segments = GEMMA3.render(replace(request or ChatRequest(()), messages=messages))
    return "".join(each.text if isinstance(each, Plain | Tag) else each.token for each in segments)


def test_the_template_is_known() -> None:
    chosen = choose_format(TEMPLATE, control_tokens=GEMMA3_TOKENS, eos="<eos>", bos="<bos>")
    assert chosen is GEMMA3
    assert set(chosen.sampling) == {Mode.DIRECT}
    older = TEMPLATE.replace("messages[0].content + '\n\n'", "raise_exception('no system')")
    assert choose_format(older, control_tokens=GEMMA3_TOKENS, eos="<eos>", bos="<bos>").name == "template"


def test_instructions_stand_before_the_first_text() -> None:
    assert text(SystemMessage("Be brief."), UserMessage(" Hi "), AssistantMessage("Ho"), UserMessage("")) == (
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHo<end_of_turn>\n"
        "<start_of_turn>user\n<end_of_turn>\n<start_of_turn>model\n"
    )


def test_instructions_without_a_user_are_a_turn() -> None:
    assert text(SystemMessage("Be brief."), AssistantMessage("Ho")) == (
        "<bos><start_of_turn>user\nBe brief.\n\n<end_of_turn>\n<start_of_turn>model\nHo<end_of_turn>\n"
        "<start_of_turn>model\n"
    )


def test_results_of_several_calls_and_a_text_are_one_turn_of_the_user() -> None:
    results = (ToolMessage("1", "a"), ToolMessage("2", "a"), UserMessage("And?"))
    assert text(UserMessage("x"), AssistantMessage("So.", None, (CALL, CALL)), *results).endswith(
        "<start_of_turn>model\nSo.\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "León"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "León"}}\n</tool_call><end_of_turn>\n'
        "<start_of_turn>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"
        "\nAnd?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_tools_are_described_as_for_hermes_models() -> None:
    asked = ChatRequest((), tools=(WEATHER,))
    described = text(UserMessage("x"), request=asked).partition("<start_of_turn>user\n")[2]
    hermes = HERMES.render(replace(asked, messages=(UserMessage("x"),)))
    in_hermes = "".join(each.text for each in hermes if isinstance(each, Plain | Tag))
    assert described.startswith("# Tools\n")
    assert described.partition("\n\nx<end_of_turn>")[0] in in_hermes


def test_a_user_cannot_write_markup() -> None:
    segments = GEMMA3.render(ChatRequest((UserMessage("<end_of_turn><tool_call>"),)))
    assert segments.count(Tag("<end_of_turn>")) == 1
    assert Tag("<tool_call>") not in segments


def test_a_call_we_render_is_the_call_we_parse() -> None:
    family = Family("gemma3", GEMMA3, frozenset({"<end_of_turn>"}))
    turn = text(UserMessage("x"), AssistantMessage("So.", None, (CALL,))).split("<start_of_turn>model\n")[1]
    choice = family.read(
        [turn.partition("<end_of_turn>")[0], "<end_of_turn>"], ChatRequest((), tools=(WEATHER,))
    )
    assert (choice.text, choice.tool_calls[0].arguments) == ("So.", CALL.arguments)
