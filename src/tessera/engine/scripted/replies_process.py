"""The process that finds replies for grammars: `python -m tessera.engine.scripted.replies_process`."""

import msgspec

from tessera.engine.scripted.replies_question import Found, ReplySearch, Vocabulary
from tessera.engine.scripted.shortest import ShortestReplies
from tessera.errors import GenerationFailed
from tessera.processes import answering

_MEMORY_BYTES = 2**30
_QUESTION_S = 15.0


def _prepare(payload: bytes) -> answering.Answerer:
    vocabulary = msgspec.json.decode(payload, type=Vocabulary)
    shortest = ShortestReplies(vocabulary.control_tokens, vocabulary.size)
    searches = msgspec.json.Decoder(ReplySearch)

    def answer(asked: bytes) -> bytes:
        search = searches.decode(asked)
        try:
            n_fitting, rest = shortest.complete(search.lark, search.parts, whole=search.whole)
        except GenerationFailed as error:
            return msgspec.json.encode(Found(0, [], error.message))
        return msgspec.json.encode(Found(n_fitting, [*rest]))

    return answer


if __name__ == "__main__":
    answering.serve(_prepare, memory_bytes=_MEMORY_BYTES, processor_s=_QUESTION_S)
