"""What an engine without a model says where a grammar holds.

It plays its script as far as the grammar admits it, and then goes the shortest way to the end. So a sentence
is said where text is allowed, reasoning is followed by what a schema demands, and a call that is required is
made at once.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tessera.core.generation import Grammar
from tessera.errors import EngineUnavailable
from tessera.text.shortest import ShortestReplies
from tessera.text.tokenizer import Tokenizer

KEPT_TOKENS = 2**20
"""How many tokens of replies are kept; the oldest replies go first."""


class GrammarReplies:
    """Finds replies in a thread of its own, one after another, and keeps them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._shortest = ShortestReplies(tokenizer.control_tokens, tokenizer.vocabulary_size)
        self._control = {id: text for text, id in tokenizer.control_tokens.items()}
        self._thread = ThreadPoolExecutor(1, "replies")
        self._kept: dict[bytes, tuple[int, ...]] = {}
        self._n_kept = 0
        self._closed = False

    async def follow(self, grammar: Grammar, script: Sequence[int], *, whole: bool) -> Sequence[int]:
        """The tokens of `script` that fit, and what completes them. `whole` says that the script ends there.

        Raises `GenerationFailed` if no end is found.
        """
        key = hashlib.sha256(repr((grammar.lark, [*script], whole)).encode()).digest()
        reply = self._kept.get(key)
        if reply is None:
            loop = asyncio.get_running_loop()
            reply = await loop.run_in_executor(self._thread, self._find, key, grammar.lark, script, whole)
        return reply

    def close(self) -> None:
        """No reply is looked for any more."""
        self._closed = True
        self._thread.shutdown(wait=False)

    def _find(self, key: bytes, lark: str, script: Sequence[int], whole: bool) -> tuple[int, ...]:
        if self._closed:
            raise EngineUnavailable("The engine is not available (engine_closed).", retry_after_s=1)
        if key in self._kept:  # another request with the same grammar came first
            return self._kept[key]
        n_fitting, rest = self._shortest.complete(lark, [*map(self._spelled, script)], whole=whole)
        reply = (*script[:n_fitting], *self._encoded(rest))
        self._kept[key] = reply
        self._n_kept += len(reply)
        while self._n_kept > KEPT_TOKENS and len(self._kept) > 1:
            self._n_kept -= len(self._kept.pop(next(iter(self._kept))))
        return reply

    def _spelled(self, token_id: int) -> Sequence[int]:
        """The token as `ShortestReplies` has it."""
        if token_id in self._control:
            return (token_id,)
        return self._shortest.tokenizer.of_bytes(self._tokenizer.token_bytes(token_id))

    def _encoded(self, ids: Sequence[int]) -> list[int]:
        """A reply of `ShortestReplies` in tokens of the engine's vocabulary."""
        encoded: list[int] = []
        text = b""
        for id in ids:
            if id in self._control:
                encoded += [*self._tokenizer.encode(text.decode()), id]
                text = b""
            else:
                text += self._shortest.tokenizer.token_bytes(id)
        return encoded + self._tokenizer.encode(text.decode())
