"""The answers of the processes that run a model's own template."""

import msgspec


class Rendering(msgspec.Struct):
    """The text that a template rendered, or why it could not."""

    text: str = ""
    problem: str | None = None


class ProbeResult(msgspec.Struct):
    """The family that renders as a template does, or the problem if the template cannot be used."""

    family: str = "template"
    default_system: str | None = None
    closes_thinking: bool = False
    problem: str | None = None
