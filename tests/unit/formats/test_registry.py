"""Which family a model belongs to."""

import pytest
from tests.templates import choose_format

from tessera.core.chat import ChatRequest, Mode, UserMessage
from tessera.core.generation import SamplingDefaults
from tessera.formats.base import Control, Plain
from tessera.formats.registry import FORMATS

CHATML = ("<|im_start|>", "<|im_end|>")
TURNS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
WITH_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + TURNS
)
HELLO = ChatRequest(messages=(UserMessage("Hello"),))


def test_formats_go_by_their_names() -> None:
    assert {name: chat_format.name for name, chat_format in FORMATS.items()} == {
        name: name for name in FORMATS
    }


def test_chatml_is_hermes() -> None:
    chosen = choose_format(TURNS, control_tokens=CHATML, eos="<|im_end|>")
    assert chosen.name == "hermes"
    assert set(chosen.sampling) == {Mode.DIRECT, Mode.THINKING}
    assert chosen.render(HELLO)[:2] == (Control("<|im_start|>"), Plain("user\n"))


XML_CALLS = """
{%- for m in messages %}
{%- if m.role == 'tool' %}
{{- '<|im_start|>user\n<tool_response>\n' + m.content + '\n</tool_response><|im_end|>\n' }}
{%- else %}
{{- '<|im_start|>' + m.role + '\n' }}
{%- if m.role == 'assistant' and loop.index0 == 1 and messages | length == 3 and m.tool_calls %}
{{- '<think>\n\n</think>\n\n' }}
{%- endif %}
{{- m.content or '' }}
{%- for call in m.tool_calls or [] %}
{{- '<tool_call>\n<function=' + call.function.name + '>\n' }}
{%- for key, value in call.function.arguments | items %}
{{- '<parameter=' + key + '>\n' + value | string + '\n</parameter>\n' }}
{%- endfor %}
{{- '</function>\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{{- '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}"""
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


def test_a_template_that_writes_what_qwen3_writes_is_qwen3() -> None:
    assert choose_format(XML_CALLS, control_tokens=CHATML + TAGS, eos="<|im_end|>") is FORMATS["qwen3"]


def test_xml_calls_without_the_control_tokens_are_not_qwen3() -> None:
    assert choose_format(XML_CALLS, control_tokens=CHATML, eos="<|im_end|>").name != "qwen3"


def test_other_xml_calls_are_not_qwen3() -> None:
    other = XML_CALLS.replace("<parameter=", "<argument=")
    assert choose_format(other, control_tokens=CHATML + TAGS, eos="<|im_end|>").name != "qwen3"


def test_the_templates_own_system_prompt_is_kept() -> None:
    chosen = choose_format(WITH_SYSTEM, control_tokens=CHATML, eos="<|im_end|>")
    assert Plain("Be kind.") in chosen.render(HELLO)


def test_a_template_that_knows_thinking_gives_both_modes() -> None:
    defaults = SamplingDefaults(temperature=0.3)
    source = TURNS + "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    chosen = choose_format(source, control_tokens=CHATML, eos="<|im_end|>", defaults=defaults)
    assert chosen.sampling == {Mode.DIRECT: defaults, Mode.THINKING: defaults}
    assert chosen.render(HELLO)[-1] == Plain("\n\n")


def test_any_other_template_renders_itself() -> None:
    source = "{{ bos_token }}[INST] {{ messages[0].content }} [/INST]"
    chosen = choose_format(source, control_tokens=("<s>", "</s>"), bos="<s>", eos="</s>")
    assert chosen.name == "template"
    assert chosen.render(HELLO) == (Control("<s>"), Plain("[INST] Hello [/INST]"))


@pytest.mark.parametrize(
    "source",
    [
        TURNS.replace("m.content", "m.content | trim + ' '"),
        "{{ bos_token }}" + TURNS,
        TURNS + "Sure! ",
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TURNS,
    ],
)
def test_a_dialect_of_chatml_renders_itself(source: str) -> None:
    chosen = choose_format(source, control_tokens=(*CHATML, "<s>"), eos="<|im_end|>", bos="<s>")
    assert chosen.name == "template"


def test_chatml_spelled_without_the_tokens_renders_itself() -> None:
    assert choose_format(TURNS, control_tokens=("</s>",), eos="</s>").name == "template"
