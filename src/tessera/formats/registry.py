"""The families that are known by name, and which of them a model belongs to."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from tessera.core.chat import AssistantMessage, ChatRequest, Mode, SystemMessage, UserMessage
from tessera.errors import RequestError, StartupError
from tessera.formats.base import ChatFormat, Control, Plain, SamplingDefaults
from tessera.formats.hermes import HERMES, hermes_format
from tessera.formats.qwen3 import QWEN3
from tessera.formats.template import template_format

FORMATS: Mapping[str, ChatFormat] = MappingProxyType({"hermes": HERMES, "qwen3": QWEN3})

_GREETING = ChatRequest(messages=(UserMessage("Hello"),))
_PROBES = (
    _GREETING,
    ChatRequest(messages=(SystemMessage("Be brief."), UserMessage("Hello"))),
    ChatRequest(messages=(UserMessage("Hello"), AssistantMessage("Hi."), UserMessage("Bye"))),
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
    if "<function=" in template and "<|im_start|>" in control_tokens:
        return QWEN3
    direct = {Mode.DIRECT: defaults}
    own = template_format(template, control_tokens=control_tokens, eos=eos, bos=bos, sampling=direct)
    # Models that never learned to reason can be asked to: their tags are spelled, and constrained by
    # grammars.
    sampling = {**direct, Mode.THINKING: defaults}
    chatml = {"<|im_start|>", "<|im_end|>"}.issubset(control_tokens)
    for closes_thinking in (False, True) if chatml else ():
        hermes = hermes_format(
            default_system=_default_system(own), sampling=sampling, closes_thinking=closes_thinking
        )
        if all(_text(hermes, probe) == _text(own, probe) for probe in _PROBES):
            return hermes
    return own


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
