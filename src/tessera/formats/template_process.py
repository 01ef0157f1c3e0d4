"""The process that renders by a model's own template: `python -m tessera.formats.template_process`.

The set-up is the template. A question is the JSON of its variables.
"""

import json

import msgspec

from tessera.errors import RequestError
from tessera.formats.conversation import Rendering
from tessera.formats.template import Template
from tessera.processes import answering

_MEMORY_BYTES = 2**30
_QUESTION_S = 5.0


def _prepare(source: bytes) -> answering.Answerer:
    template = Template(source.decode())

    def answer(variables: bytes) -> bytes:
        try:
            rendering = Rendering(template.text(json.loads(variables)))
        except RequestError as error:
            rendering = Rendering(problem=error.message)
        return msgspec.json.encode(rendering)

    return answer


if __name__ == "__main__":
    answering.serve(_prepare, memory_bytes=_MEMORY_BYTES, processor_s=_QUESTION_S)
