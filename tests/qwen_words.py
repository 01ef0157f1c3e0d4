"""The vocabulary of Qwen3.5 and Qwen3.6 as a GGUF file has it: byte pairs, in the order of merging."""

from collections.abc import Iterator, Mapping

from gguf import TokenType
from tests.qwen import CONTROL_TOKENS, read_ranks
from tests.tiny_model import CONTROL, NORMAL, Words

from tessera.text.hf import _BYTE_OF

N_TOKENS = 248_320
"""The rows of the model's embeddings; the last ones belong to no token."""


def qwen_words() -> Words:
    ranks = read_ranks()
    letters = {byte: letter for letter, byte in _BYTE_OF.items()}

    def spell(spelled: bytes) -> str:
        return "".join(chr(letters[byte]) for byte in spelled)

    merges = [f"{spell(left)} {spell(right)}" for left, right in _pairs(ranks)]
    tokens = [*map(spell, ranks), *CONTROL_TOKENS]
    types = [NORMAL] * len(ranks) + [CONTROL] * len(CONTROL_TOKENS)
    unused = range(len(tokens), N_TOKENS)
    tokens += [f"[PAD{id}]" for id in unused]
    types += [TokenType.UNUSED] * len(unused)
    return Words(tokens, types, merges, "qwen35", tokens.index("<|im_end|>"))


def _pairs(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """The two parts of which each longer token is merged."""
    for token, rank in ranks.items():
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            joined = [ranks.get(parts[i] + parts[i + 1], rank) for i in range(len(parts) - 1)]
            lowest = min(joined)
            if lowest >= rank:
                break
            at = joined.index(lowest)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]
