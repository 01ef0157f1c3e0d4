"""Renders by a model's own template in processes that can be killed."""

import asyncio
import json
from collections.abc import Collection
from dataclasses import replace
from typing import NoReturn

import msgspec

from tessera.core.chat import ChatRequest
from tessera.core.generation import SamplingDefaults
from tessera.errors import RequestError, StartupError
from tessera.formats.base import ChatFormat, Segment
from tessera.formats.conversation import Rendering, TemplateSource, with_user_turn
from tessera.formats.registry import ProbeResult
from tessera.processes import once
from tessera.processes.pool import ProcessPool, TooMuch

_PROBES = msgspec.json.Decoder(ProbeResult)
_RENDERINGS = msgspec.json.Decoder(Rendering)


def find_format(
    source: str | None, *, control_tokens: Collection[str], eos: str, bos: str, defaults: SamplingDefaults
) -> tuple[ChatFormat, TemplateSource | None]:
    """The format of a model, by its chat template. A template of no known family is returned too: it has to
    render in a `RemoteTemplate`.

    `defaults` are the model's own sampling defaults. Raises `StartupError` if there is no template, or if it
    cannot be used.
    """
    if source is None:
        raise StartupError("The model has no chat template: a base model cannot be served as a chat model.")
    template = TemplateSource(source, tuple(control_tokens), eos=eos, bos=bos)
    try:
        asked = msgspec.json.encode(template)
        answer = once.ask("tessera.formats.probe_process", asked, purpose="the chat template")
    except TooMuch:
        raise StartupError("The chat template takes too much time or memory to render a greeting.") from None
    probed = _PROBES.decode(answer)
    if probed.problem is not None:
        raise StartupError(probed.problem)
    if known := probed.known_format(defaults):
        return known, None
    template = replace(template, dialect=probed.dialect)
    return template.format(defaults, _elsewhere), template


def _elsewhere(request: ChatRequest) -> NoReturn:
    raise RuntimeError("this template is rendered by its RemoteTemplate")


class RemoteTemplate:
    """The processes that render by one template, started by `start` or when first needed."""

    def __init__(self, template: TemplateSource) -> None:
        self._template = template
        self._pool = ProcessPool(
            "tessera.formats.template_process",
            template.source.encode(),
            purpose="the rendering of their conversations",
        )

    async def start(self) -> None:
        await self._pool.start()

    async def render(self, request: ChatRequest, account: bytes | None = None) -> tuple[Segment, ...]:
        """The segments of the prompt; accounts take turns.

        Raises `RequestError` for a conversation that the template refuses, or that costs it too much, and
        `EngineOverloaded` while others keep all processes busy.
        """
        problem, segments = await self._rendered(request, account)
        if problem is not None and (completed := with_user_turn(request)):
            problem, segments = await self._rendered(completed, account)
        if problem is not None:
            raise RequestError(problem, param="messages")
        return segments

    async def _rendered(
        self, request: ChatRequest, account: bytes | None
    ) -> tuple[str | None, tuple[Segment, ...]]:
        conversation = await asyncio.to_thread(self._template.conversation, request)
        asked = await asyncio.to_thread(json.dumps, conversation.variables)
        try:
            rendering = _RENDERINGS.decode(await self._pool.ask(asked.encode(), account))
        except TooMuch:
            raise RequestError(
                "The model's template takes too much time or memory for this conversation: shorten it.",
                param="messages",
            ) from None
        if rendering.problem is not None:
            return rendering.problem, ()
        return None, await asyncio.to_thread(conversation.segments, rendering.text)

    async def aclose(self) -> None:
        await self._pool.aclose()
