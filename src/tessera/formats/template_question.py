"""What processes answer about a model's own template."""

import msgspec


class Rendering(msgspec.Struct):
    """What a template wrote, or why it did not."""

    text: str = ""
    problem: str | None = None


class ProbeResult(msgspec.Struct):
    """Which family writes as a template does; a problem if the template cannot be used."""

    family: str = "template"
    default_system: str | None = None
    closes_thinking: bool = False
    problem: str | None = None
