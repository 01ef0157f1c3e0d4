"""Adapts our tokenizers to llguidance, which tries grammars and follows them in an engine.

llguidance works on bytes. It needs to know which bytes each token spells, which tokens are control tokens (no
text matches those) and which end a turn (allowed where the grammar is complete).
"""

from collections.abc import Collection

from llguidance import LLParserLimits, LLTokenizer, TokenizerWrapper

from tessera.grammars.question import GrammarLimits
from tessera.text.tokenizer import Tokenizer


def parser_limits(limits: GrammarLimits) -> LLParserLimits:
    """The limits as llguidance takes them. Errors do not quote the grammar."""
    return LLParserLimits(
        max_items_in_row=limits.items_in_row, step_lexer_fuel=limits.lexer_fuel, verbose_errors=False
    )


LIMITS = parser_limits(GrammarLimits())
"""The limits of our own engines, the same where a grammar is tried and where it is followed."""


def llg_tokenizer(
    tokenizer: Tokenizer, end_ids: Collection[int], vocabulary_size: int | None = None
) -> LLTokenizer:
    """Takes about a second for 250,000 tokens: make one per model. `vocabulary_size` is that of the model's
    logits, which bit masks must fit; ids without a token are never allowed.
    """
    adapter = _TokenizerAdapter(tokenizer, sorted(end_ids), vocabulary_size or tokenizer.vocabulary_size)
    return LLTokenizer(TokenizerWrapper(adapter), eos_token=sorted(end_ids))


class _TokenizerAdapter:
    """Has the attributes that `TokenizerWrapper` reads, and encodes when it is called."""

    def __init__(self, tokenizer: Tokenizer, end_ids: list[int], size: int) -> None:
        self.eos_token_id = end_ids[0]
        self.bos_token_id = None
        self.special_token_ids = sorted(tokenizer.control_tokens.values())
        self.tokens = [tokenizer.token_bytes(id) for id in range(size)]
        self._encode = tokenizer.encode
        special = set(self.special_token_ids)
        self._ids = {spelled: id for id, spelled in enumerate(self.tokens) if spelled and id not in special}
        self._longest = min(max(map(len, self._ids), default=1), 64)

    def __call__(self, text: str | bytes) -> list[int]:
        """Ids that spell `text` exactly. Where the tokenizer does not, because it composes characters or puts
        a blank first, the longest token is taken at each position.
        """
        spelled = text.encode() if isinstance(text, str) else text
        ids = self._encode(spelled.decode("utf-8", "ignore"))
        if b"".join(self.tokens[id] for id in ids) == spelled:
            return ids
        return list(self._greedy(spelled))

    def _greedy(self, spelled: bytes) -> list[int]:
        ids: list[int] = []
        while spelled:
            token = next((spelled[:n] for n in range(self._longest, 0, -1) if spelled[:n] in self._ids), None)
            if token is None:  # the vocabulary has no token for this byte
                break
            ids.append(self._ids[token])
            spelled = spelled[len(token) :]
        return ids
