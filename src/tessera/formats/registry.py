"""The families that are known by name, and which of them a model belongs to."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

from tessera.core.chat import ChatRequest, Mode, UserMessage
from tessera.errors import StartupError
from tessera.formats.base import ChatFormat, Control, Plain, SamplingDefaults
from tessera.formats.hermes import HERMES, hermes_format
from tessera.formats.template import template_format

FORMATS: Mapping[str, ChatFormat] = MappingProxyType({"hermes": HERMES})


def choose_format(
    template: str | None,
    *,
    control_tokens: Collection[str],
    eos: str,
    bos: str = "",
    defaults: SamplingDefaults = SamplingDefaults(),  # noqa: B008 - frozen
) -> ChatFormat:
    """The family of a model, by its chat template: ChatML ones are rendered by us, all others by themselves.

    `defaults` are the model's own sampling defaults. Raises `StartupError` when there is no template, or it
    cannot be used.
    """
    if template is None:
        raise StartupError("The model has no chat template: a base model cannot be served as a chat model.")
    sampling = {Mode.DIRECT: defaults}
    own = template_format(template, control_tokens=control_tokens, eos=eos, bos=bos, sampling=sampling)
    if "<|im_start|>" not in template or "<|im_start|>" not in control_tokens:
        return own
    thinks = "enable_thinking" in template
    return hermes_format(
        default_system=_default_system(own),
        sampling={**sampling, Mode.THINKING: defaults} if thinks else sampling,
        closes_thinking=thinks,
    )


def _default_system(own: ChatFormat) -> str | None:
    """The system prompt that a ChatML template puts before a conversation without one."""
    segments = own.render(ChatRequest(messages=(UserMessage("Hello"),)))
    match segments:
        case (Control("<|im_start|>"), Plain(text), *_) if text.startswith("system\n"):
            return text.removeprefix("system\n")
        case _:
            return None
