"""The process that validates finished replies: `python -m tessera.schemas.validation_process`."""

import hashlib
from collections import OrderedDict

import msgspec

from tessera.processes import answering
from tessera.schemas.validation import Validator
from tessera.schemas.validation_question import ValidationProblem, Validations

_MEMORY_BYTES = 2**30
_QUESTION_S = 3.0
_KEPT_BYTES = 4 * 2**20
"""The most text of schemas whose validators are kept."""


class _Validators:
    """Keeps the validators of schemas; the least recently used is dropped first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[Validator, int]] = OrderedDict()
        self._kept_bytes = 0

    def of(self, schema: bytes) -> Validator:
        key = hashlib.sha256(schema).digest()
        if key not in self._kept:
            self._kept[key] = Validator(msgspec.json.decode(schema)), len(schema)
            self._kept_bytes += len(schema)
        self._kept.move_to_end(key)
        validator, _ = self._kept[key]
        while self._kept_bytes > _KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1][1]
        return validator


def _prepare(setup: bytes) -> answering.Answerer:
    validators = _Validators()
    questions = msgspec.json.Decoder(Validations)

    def answer(asked: bytes) -> bytes:
        for place, check in enumerate(questions.decode(asked).checks):
            if problem := validators.of(bytes(check.schema)).validate(check.text):
                return msgspec.json.encode(ValidationProblem(place, problem))
        return msgspec.json.encode(ValidationProblem())

    return answer


if __name__ == "__main__":
    answering.serve(_prepare, memory_bytes=_MEMORY_BYTES, processor_s=_QUESTION_S)
