"""The process that tries a model's own template at start-up: `python -m tessera.formats.probe_process`.

It finds the family of a model by rendering conversations with the template of the model.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

import msgspec

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.core.generation import SamplingDefaults
from tessera.errors import RequestError, StartupError
from tessera.formats.base import ChatFormat, Control, Plain
from tessera.formats.conversation import Dialect, TemplateSource
from tessera.formats.dialects import find_dialect
from tessera.formats.gemma3 import GEMMA3_TOKENS
from tessera.formats.glm import GLM_TOKENS
from tessera.formats.gpt_oss import GPT_OSS_TOKENS
from tessera.formats.qwen3 import QWEN3_TOKENS
from tessera.formats.registry import ProbeResult
from tessera.formats.template import template_format
from tessera.formats.template_families import UNKNOWN
from tessera.processes import answering

_MEMORY_BYTES = 2**30
_QUESTION_S = 10.0

_GREETING = ChatRequest(messages=(UserMessage("Hello"),))
_PROBES = (
    _GREETING,
    ChatRequest(messages=(SystemMessage("Be brief."), UserMessage("Hello"))),
    ChatRequest(messages=(UserMessage("Hello"), AssistantMessage("Hi."), UserMessage("Bye"))),
)
# Calls tell families apart only if their templates render calls.
_CALL = ChatRequest(
    messages=(
        UserMessage("Hello"),
        AssistantMessage(tool_calls=(ToolCall("call_1", "greet", '{"name": "Ana", "times": 2}'),)),
        ToolMessage("done", "call_1"),
    )
)
# Some templates cannot write a call without a text.
_CALL_WITH_TEXT = replace(
    _CALL,
    messages=tuple(replace(m, text="Hi.") if isinstance(m, AssistantMessage) else m for m in _CALL.messages),
)
_BOS = "<bos>"
"""The renderer of Gemma 3 writes it. Some templates do not, since llama.cpp would write it twice."""
_JSON_CALLS = (UNKNOWN, "tagged-json")


def probe(template: TemplateSource) -> ProbeResult:
    """The known family that renders the same text as a model's own template, else the family that writes
    calls as the template does. Raises `StartupError`.
    """
    own, control_tokens = template_format(template, SamplingDefaults()), template.control_tokens
    if GPT_OSS_TOKENS.issubset(control_tokens) and _writes_harmony(own):
        return ProbeResult("gpt-oss")
    dialect = find_dialect(template)
    for candidate, probes in _candidates(own, control_tokens, dialect):
        known = candidate.known_format(SamplingDefaults())
        bos = _BOS if candidate.family == "gemma3" else ""
        if known and all(_text(known, asked, bos) == _text(own, asked, bos) for asked in probes):
            return candidate
    return ProbeResult(dialect=dialect)


def _writes_harmony(own: ChatFormat) -> bool:
    """Messages in the harmony format are like no other's. What templates in use write around them differs:
    the identity, the date, results, whether the prompt opens the analysis.
    """
    *messages, opened = (_text(own, _GREETING) or "").split("<|end|>")
    return "<|start|>user<|message|>Hello" in messages and opened.startswith("<|start|>assistant")


def _candidates(
    own: ChatFormat, control_tokens: Collection[str], dialect: Dialect
) -> Iterator[tuple[ProbeResult, tuple[ChatRequest, ...]]]:
    """The families that could use these control tokens, with the conversations that must render alike."""
    if QWEN3_TOKENS.issubset(control_tokens):
        yield ProbeResult("qwen3"), (*_PROBES, _CALL)
    if GEMMA3_TOKENS.issubset(control_tokens):
        yield ProbeResult("gemma3"), _PROBES
    if GLM_TOKENS.issubset(control_tokens):
        for family in ("glm", "glm-4.7"):
            yield ProbeResult(family), (*_PROBES, _CALL_WITH_TEXT)
    if {"<|im_start|>", "<|im_end|>"}.issubset(control_tokens) and dialect.family in _JSON_CALLS:
        system = _default_system(own)
        for closes_thinking in (False, True):
            yield ProbeResult("hermes", system, closes_thinking), _PROBES


def _default_system(own: ChatFormat) -> str | None:
    """The system prompt that a ChatML template adds to a conversation without one."""
    try:
        segments = own.render(_GREETING)
    except RequestError:
        return None
    match segments:
        case (Control("<|im_start|>"), Plain(text), *_) if text.startswith("system\n"):
            return text.removeprefix("system\n")
        case _:
            return None


def _text(chat_format: ChatFormat, request: ChatRequest, bos: str = "") -> str | None:
    """The prompt, without `bos` before it."""
    try:
        segments = chat_format.render(request)
    except RequestError:
        return None
    texts = (segment.token if isinstance(segment, Control) else segment.text for segment in segments)
    return "".join(texts).removeprefix(bos)


def _prepare(setup: bytes) -> answering.Answerer:
    def answer(asked: bytes) -> bytes:
        template = msgspec.json.decode(asked, type=TemplateSource)
        try:
            return msgspec.json.encode(probe(template))
        except StartupError as error:
            return msgspec.json.encode(ProbeResult(problem=error.message))

    return answer


if __name__ == "__main__":
    answering.serve(_prepare, memory_bytes=_MEMORY_BYTES, processor_s=_QUESTION_S)
