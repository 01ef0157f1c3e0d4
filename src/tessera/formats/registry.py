"""The families that have a renderer of their own, and how a template is known to be theirs."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from tessera.core.chat import Mode
from tessera.core.generation import SamplingDefaults
from tessera.formats.base import ChatFormat
from tessera.formats.conversation import Dialect
from tessera.formats.gemma3 import GEMMA3
from tessera.formats.glm import GLM, GLM_4_7
from tessera.formats.gpt_oss import GPT_OSS
from tessera.formats.hermes import HERMES, hermes_format
from tessera.formats.qwen3 import QWEN3

FORMATS: Mapping[str, ChatFormat] = MappingProxyType(
    {each.name: each for each in (HERMES, QWEN3, GPT_OSS, GLM, GLM_4_7, GEMMA3)}
)


class ProbeResult(msgspec.Struct):
    """The family that renders as a template does, or else the dialect in which the template itself renders,
    or the problem if it cannot be used.
    """

    family: str | None = None
    default_system: str | None = None
    closes_thinking: bool = False
    problem: str | None = None
    dialect: Dialect = Dialect()

    def known_format(self, defaults: SamplingDefaults) -> ChatFormat | None:
        """The family whose prompts the template writes; None if only the template itself can write them.

        `defaults` are the model's own sampling defaults.
        """
        if self.family is None:
            return None
        if self.family != "hermes":
            return FORMATS[self.family]
        # A model that was not trained to reason can be asked to: its tags are ordinary text, and a grammar
        # holds them.
        return hermes_format(
            default_system=self.default_system,
            sampling={Mode.DIRECT: defaults, Mode.THINKING: defaults},
            closes_thinking=self.closes_thinking,
        )
