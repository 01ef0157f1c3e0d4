"""Templates of known families in variants that are in use: what decides is how they write turns and calls.

Each case has one difference that was found between the official template of a family and those that come
with conversions of its models, or between templates of its releases.
"""

from dataclasses import dataclass, replace

import pytest
from tests.conformance.formats.test_official_templates import source
from tests.conformance.formats.test_rendering import text_of
from tests.template_families import TEMPLATED
from tests.templates import choose_format
from tests.unit.formats.test_gemma3 import TEMPLATE as GEMMA3_SOURCE
from tests.unit.formats.test_registry import CHATML, TAGS, XML_CALLS

from tessera.core.chat import AssistantMessage, ChatRequest, Mode, ToolCall, ToolMessage, UserMessage
from tessera.formats.base import ChatFormat
from tessera.formats.gemma3 import GEMMA3_TOKENS
from tessera.formats.glm import GLM_TOKENS
from tessera.formats.gpt_oss import GPT_OSS_TOKENS

BY_FILE = {each.file: each for each in TEMPLATED}
QWEN = (*CHATML, *TAGS)
GLM = (*GLM_TOKENS, *TAGS)
CALL = AssistantMessage(tool_calls=(ToolCall("call00001", "get_weather", '{"city": "León", "days": 2}'),))
LOOP = ChatRequest((UserMessage("Hello"), CALL, ToolMessage("sunny", "call00001")))
XML_CALL = (
    "<tool_call>\n<function=get_weather>\n<parameter=city>\nLeón\n</parameter>\n"
    "<parameter=days>\n2\n</parameter>\n</function>\n</tool_call>"
)
GLM_CALL = (
    "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>León</arg_value>\n"
    "<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>"
)
GEMMA_CALL = '<|tool_call>call:get_weather{city:<|"|>León<|"|>,days:2}<tool_call|>'
GEMMA_RESULT = '<|tool_response>response:get_weather{value:<|"|>sunny<|"|>}<tool_response|>'


def changed(source: str, *changes: tuple[str, str]) -> str:
    """The template with other texts. Every one that is replaced occurs in it."""
    for before, after in changes:
        assert before in source, before
        source = source.replace(before, after)
    return source


@dataclass(frozen=True)
class Variant:
    """A template, and the family that it must be found to be of. `written` is in its prompt of `LOOP`."""

    id: str
    source: str
    tokens: tuple[str, ...]
    family: str
    written: tuple[str, ...] = ()
    modes: frozenset[Mode] = frozenset(Mode)
    bos: str = ""
    eos: str = "<|im_end|>"

    @property
    def format(self) -> ChatFormat:
        return choose_format(self.source, control_tokens=self.tokens, eos=self.eos, bos=self.bos)


DIRECT = frozenset({Mode.DIRECT})
GEMMA4 = BY_FILE["gemma4"]
RESULTS_IN_CALLS = changed(
    GEMMA4.source,
    ("message.role in ['user', 'assistant']", "message.role != 'system'"),
    ("else 'user' -%}", "else message.role -%}"),
    (
        "{%- for follow in messages[messages.index(message) + 1:] -%}",
        "{%- for follow in message.tool_responses or [] -%}",
    ),
    ("{%- if follow.role != 'tool' -%}{%- set scan.ended = true -%}{%- endif -%}", ""),
    (
        "{%- set found = message.tool_calls | selectattr('id', 'equalto', follow.tool_call_id) | list -%}",
        "{%- set found = [{'function': follow}] -%}",
    ),
    ("follow.content", "follow.response"),
)


def gemma4(id: str, *written: str, source: str) -> Variant:
    return Variant(
        id, source, (*GEMMA4.control, GEMMA4.eos), "gemma4", written, bos=GEMMA4.bos, eos=GEMMA4.eos
    )


VARIANTS = (
    Variant(
        "Qwen3.6, no empty reasoning in the history",
        changed(XML_CALLS, ("{{- '<think>\n\n</think>\n\n' }}\n{%- endif %}", "{%- endif %}")),
        QWEN,
        "tagged-xml",
        (f"assistant\n{XML_CALL}<|im_end|>",),
    ),
    Variant(
        "Qwen3.6, texts trimmed",
        changed(XML_CALLS, ("m.content or ''", "(m.content or '') | trim")),
        QWEN,
        "qwen3",
    ),
    Variant(
        "Qwen3.6, two line breaks before a call",
        changed(XML_CALLS, ("'<tool_call>\n<function='", "'\n\n<tool_call>\n<function='")),
        QWEN,
        "tagged-xml",
        (XML_CALL,),
    ),
    Variant(
        "Qwen3.6, arguments that are text stay text",
        changed(
            XML_CALLS,
            (
                "{%- for key, value in call.function.arguments | items %}",
                "{%- if call.function.arguments is string %}{{ call.function.arguments }}{% endif %}"
                "{%- for key, value in call.function.arguments | items "
                "if call.function.arguments is mapping %}",
            ),
            ("{{- '<think>\n\n</think>\n\n' }}\n{%- endif %}", "{%- endif %}"),
        ),
        QWEN,
        "tagged-xml",
        (XML_CALL,),
    ),
    Variant(
        "Qwen3-Coder",
        BY_FILE["qwen3-coder"].source,
        CHATML,
        "tagged-xml",
        (f"assistant\n\n{XML_CALL}<|im_end|>", "<tool_response>\nsunny\n</tool_response>"),
        modes=DIRECT,
    ),
    Variant(
        "GLM 4.6, a line break after the prefix",
        changed(source("glm-4.6"), ("[gMASK]<sop>", "[gMASK]<sop>{{ '\\n' }}")),
        GLM,
        "tagged-glm",
        (GLM_CALL,),
        eos="<|endoftext|>",
    ),
    Variant(
        "GLM 4.7, a line break after the prefix",
        changed(source("glm-4.7"), ("[gMASK]<sop>", "[gMASK]<sop>{{ '\\n' }}")),
        GLM,
        "tagged-glm-4.7",
        (GLM_CALL.replace("\n", ""),),
        eos="<|endoftext|>",
    ),
    Variant(
        "gpt-oss, another identity",
        changed(
            source("gpt-oss"), ("You are ChatGPT, a large language model trained by OpenAI.", "You are Oss.")
        ),
        tuple(GPT_OSS_TOKENS),
        "gpt-oss",
        eos="<|return|>",
    ),
    Variant(
        "Gemma 3, without the first token",
        changed(GEMMA3_SOURCE, ("{{- '<bos>' }}\n", "")),
        tuple(GEMMA3_TOKENS),
        "gemma3",
        ("<bos>",),
        modes=DIRECT,
        bos="<bos>",
        eos="<eos>",
    ),
    gemma4("Gemma 4", GEMMA_CALL + GEMMA_RESULT, source=GEMMA4.source),
    gemma4("Gemma 4, results as part of calls", GEMMA_CALL + GEMMA_RESULT, source=RESULTS_IN_CALLS),
    replace(
        gemma4(
            "Gemma 4, without calls",
            '<tool_call>\n{"name": "get_weather"',
            source="{% for m in messages %}"
            "{{ '<|turn>' + m.role + '\n' + m.content + '<turn|>\n' }}{% endfor %}"
            "{{ '<|turn>model\n' }}{{ '' if enable_thinking else '<|channel>thought\n<channel|>' }}",
        ),
        family="template",
    ),
    gemma4(
        "Gemma 4, small sizes",
        GEMMA_CALL + GEMMA_RESULT,
        source=changed(
            GEMMA4.source,
            ("{%- if not enable_thinking -%}{{- '<|channel>thought\\n<channel|>' -}}{%- endif -%}", ""),
        ),
    ),
)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: each.id)
def test_a_variant_is_of_its_family(variant: Variant) -> None:
    chosen = variant.format
    assert chosen.name == variant.family
    assert frozenset(chosen.sampling) == variant.modes
    prompt = text_of(chosen.render(LOOP))
    assert [each for each in variant.written if each not in prompt] == []


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda each: each.id)
def test_the_prompt_of_a_variant_opens_the_reasoning_or_does_not(variant: Variant) -> None:
    chosen = variant.format
    tags = chosen.syntax.reasoning
    for mode in variant.modes:
        prompt = text_of(chosen.render(ChatRequest(LOOP.messages, mode=mode)))
        opened = (
            tags is not None and prompt.rpartition(tags.open)[2].find(tags.close) < 0 and tags.open in prompt
        )
        assert opened is (mode is Mode.THINKING and tags is not None), prompt[-80:]


def test_a_template_without_calls_reasons_as_its_tags_say() -> None:
    chosen = next(each for each in VARIANTS if each.id == "Gemma 4, without calls").format
    assert text_of(chosen.render(replace(LOOP, mode=Mode.THINKING))).endswith("<|channel>thought\n")
    assert (chosen.syntax.before_close, chosen.syntax.after_close) == ("\n", ())


OTHER_HARMONY = (
    "{% for m in messages %}{{ '<|start|>' + m.role + '<|channel|>' + m.content + '<|end|>' }}{% endfor %}"
    "{{ '<|start|>assistant' }}"
)


@dataclass(frozen=True)
class Other:
    """A template that only looks like one of a family."""

    id: str
    source: str
    tokens: tuple[str, ...]
    family: str
    eos: str = "<|im_end|>"


def json_calls(source: str) -> str:
    return changed(source, ("written(call.function.arguments)", "call.function.arguments | tojson"))


OTHERS = (
    Other("other tags of parameters", changed(XML_CALLS, ("<parameter=", "<argument=")), QWEN, "hermes"),
    Other(
        "calls of GLM as JSON",
        changed(source("glm-4.6"), ("<arg_key>", "<key>")),
        GLM,
        "template",
        eos="<|endoftext|>",
    ),
    Other(
        "tokens of gpt-oss, other messages", OTHER_HARMONY, tuple(GPT_OSS_TOKENS), "template", eos="<|end|>"
    ),
    Other(
        "tags of Gemma 4 around JSON",
        json_calls(GEMMA4.source),
        (*GEMMA4.control, GEMMA4.eos),
        "template",
        eos=GEMMA4.eos,
    ),
    Other(
        "calls of FunctionGemma",
        changed(
            GEMMA4.source,
            ("<|tool_call>", "<start_function_call>"),
            ("<tool_call|>", "<end_function_call>"),
            ('<|"|>', "<escape>"),
        ),
        ("<start_function_call>", "<end_function_call>", "<escape>", "<turn|>"),
        "template",
        eos=GEMMA4.eos,
    ),
)


@pytest.mark.parametrize("other", OTHERS, ids=lambda each: each.id)
def test_a_template_that_only_looks_similar_is_not_taken(other: Other) -> None:
    chosen = choose_format(other.source, control_tokens=other.tokens, eos=other.eos)
    assert chosen.name == other.family


def test_a_legacy_result_without_a_call_stays_a_message() -> None:
    chosen = next(each for each in VARIANTS if each.source == RESULTS_IN_CALLS).format
    written = text_of(chosen.render(ChatRequest((UserMessage("Hello"), ToolMessage("sunny", "x")))))
    assert "<|turn>tool\nsunny<turn|>" in written
