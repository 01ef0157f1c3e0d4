"""The families that have a renderer of their own."""

from collections.abc import Mapping
from types import MappingProxyType

from tessera.core.chat import Mode
from tessera.core.generation import SamplingDefaults
from tessera.formats.base import ChatFormat
from tessera.formats.hermes import HERMES, hermes_format
from tessera.formats.qwen3 import QWEN3
from tessera.formats.template_question import ProbeResult

FORMATS: Mapping[str, ChatFormat] = MappingProxyType({"hermes": HERMES, "qwen3": QWEN3})
NO_TEMPLATE = "The model has no chat template: a base model cannot be served as a chat model."


def known_format(probed: ProbeResult, defaults: SamplingDefaults) -> ChatFormat | None:
    """The family whose prompts the template writes; None if only the template itself can write them.

    `defaults` are the model's own sampling defaults.
    """
    if probed.family != "hermes":
        return FORMATS.get(probed.family)
    # A model that was not trained to reason can be asked to: its tags are ordinary text, and a grammar holds
    # them.
    sampling = {Mode.DIRECT: defaults, Mode.THINKING: defaults}
    system = probed.default_system
    closes_thinking = probed.closes_thinking
    return hermes_format(default_system=system, sampling=sampling, closes_thinking=closes_thinking)
