"""Chooses formats by templates as the service does, in the process of the test."""

from collections.abc import Collection
from dataclasses import replace

from tessera.core.generation import SamplingDefaults
from tessera.formats.base import ChatFormat
from tessera.formats.conversation import TemplateSource
from tessera.formats.probe_process import probe
from tessera.formats.template import template_format


def own_format(source: str, *, control_tokens: Collection[str], eos: str, bos: str = "") -> ChatFormat:
    """The format that renders by the template, with the default sampling and without reasoning."""
    template = TemplateSource(source, tuple(control_tokens), eos=eos, bos=bos)
    return template_format(template, SamplingDefaults())


def choose_format(
    source: str | None,
    *,
    control_tokens: Collection[str],
    eos: str,
    bos: str = "",
    defaults: SamplingDefaults = SamplingDefaults(),  # noqa: B008 - frozen
) -> ChatFormat:
    """The format of the template's family, or one that renders by the template itself."""
    assert source is not None
    template = TemplateSource(source, tuple(control_tokens), eos=eos, bos=bos)
    probed = probe(template)
    own = template_format(replace(template, dialect=probed.dialect), defaults)
    return probed.known_format(defaults) or own
