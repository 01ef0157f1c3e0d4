"""The process that tries a model's own template at start-up: `python -m tessera.formats.probe_process`."""

import msgspec

from tessera.core.chat import Mode
from tessera.core.generation import SamplingDefaults
from tessera.errors import StartupError
from tessera.formats.conversation import TemplateSource
from tessera.formats.registry import probe
from tessera.formats.template import template_format
from tessera.formats.template_question import ProbeResult
from tessera.processes import answering

_MEMORY_BYTES = 2**30
_QUESTION_S = 10.0


def _prepare(setup: bytes) -> answering.Answerer:
    def answer(asked: bytes) -> bytes:
        template = msgspec.json.decode(asked, type=TemplateSource)
        tokens = template.control_tokens
        sampling = {Mode.DIRECT: SamplingDefaults()}
        try:
            own = template_format(
                template.source, control_tokens=tokens, eos=template.eos, bos=template.bos, sampling=sampling
            )
            return msgspec.json.encode(probe(own, tokens))
        except StartupError as error:
            return msgspec.json.encode(ProbeResult(problem=error.message))

    return answer


if __name__ == "__main__":
    answering.serve(_prepare, memory_bytes=_MEMORY_BYTES, processor_s=_QUESTION_S)
