"""The families that are known by name, and which of them a model belongs to."""

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Mode,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.errors import RequestError, StartupError
from tessera.formats.base import ChatFormat, Control, Plain, SamplingDefaults
from tessera.formats.hermes import HERMES, hermes_format
from tessera.formats.qwen3 import QWEN3, QWEN3_TOKENS
from tessera.formats.template import template_format

FORMATS: Mapping[str, ChatFormat] = MappingProxyType({"hermes": HERMES, "qwen3": QWEN3})

_GREETING = ChatRequest(messages=(UserMessage("Hello"),))
_PROBES = (
    _GREETING,
    ChatRequest(messages=(SystemMessage("Be brief."), UserMessage("Hello"))),
    ChatRequest(messages=(UserMessage("Hello"), AssistantMessage("Hi."), UserMessage("Bye"))),
)
# Only families whose templates know of calls can be told apart by them.
_CALL = ChatRequest(
    messages=(
        UserMessage("Hello"),
        AssistantMessage(tool_calls=(ToolCall("call_1", "greet", '{"name": "Ana", "times": 2}'),)),
        ToolMessage("done", "call_1"),
    )
)


def choose_format(
    template: str | None,
    *,
    control_tokens: Collection[str],
    eos: str,
    bos: str = "",
    defaults: SamplingDefaults = SamplingDefaults(),  # noqa: B008 - frozen
) -> ChatFormat:
    """The family of a model, by its chat template; a template of no known family renders itself.

    `defaults` are the model's own sampling defaults. Raises `StartupError` when there is no template, or it
    cannot be used.
    """
    if template is None:
        raise StartupError("The model has no chat template: a base model cannot be served as a chat model.")
    direct = {Mode.DIRECT: defaults}
    own = template_format(template, control_tokens=control_tokens, eos=eos, bos=bos, sampling=direct)
    for known, probes in _candidates(own, defaults, control_tokens):
        if all(_text(known, probe) == _text(own, probe) for probe in probes):
            return known
    return own


def _candidates(
    own: ChatFormat, defaults: SamplingDefaults, control_tokens: Collection[str]
) -> Iterator[tuple[ChatFormat, tuple[ChatRequest, ...]]]:
    """The known families that could be written in these control tokens, and what they must write alike."""
    if QWEN3_TOKENS.issubset(control_tokens):
        yield QWEN3, (*_PROBES, _CALL)
    if {"<|im_start|>", "<|im_end|>"}.issubset(control_tokens):
        # Models that never learned to reason can be asked to: their tags are spelled, and held by grammars.
        sampling = {Mode.DIRECT: defaults, Mode.THINKING: defaults}
        system = _default_system(own)
        for closes_thinking in (False, True):
            known = hermes_format(default_system=system, sampling=sampling, closes_thinking=closes_thinking)
            yield known, _PROBES


def _default_system(own: ChatFormat) -> str | None:
    """The system prompt that a ChatML template puts before a conversation without one."""
    try:
        segments = own.render(_GREETING)
    except RequestError:
        return None
    match segments:
        case (Control("<|im_start|>"), Plain(text), *_) if text.startswith("system\n"):
            return text.removeprefix("system\n")
        case _:
            return None


def _text(chat_format: ChatFormat, request: ChatRequest) -> str | None:
    try:
        segments = chat_format.render(request)
    except RequestError:
        return None
    return "".join(segment.token if isinstance(segment, Control) else segment.text for segment in segments)
