"""What an engine without a model says where a grammar holds.

It plays its script as far as the grammar admits it, and then goes the shortest way to the end. So a sentence
is said where text is allowed, reasoning is followed by what a schema demands, and a call that is required is
made at once.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from tessera.core.generation import Grammar
from tessera.engine.scripted.replies_question import Found, ReplySearch, Vocabulary
from tessera.errors import EngineUnavailable, GrammarFailed
from tessera.grammars.bytewise import ByteTokenizer
from tessera.processes.pool import ProcessPool, TooMuch
from tessera.text.tokenizer import Tokenizer

KEPT_TOKENS = 2**20
"""How many tokens of replies are kept; the oldest replies go first."""
_WAIT_S = 60.0
_FOUND = msgspec.json.Decoder(Found)


class GrammarReplies:
    """Finds replies in a process that can be killed, one after another, and keeps them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        control_tokens = dict(tokenizer.control_tokens)
        self._tokenizer = tokenizer
        self._bytes = ByteTokenizer(tokenizer.vocabulary_size, control_tokens)
        self._control = {id: text for text, id in control_tokens.items()}
        setup = msgspec.json.encode(Vocabulary(control_tokens, tokenizer.vocabulary_size))
        self._pool = ProcessPool(
            "tessera.engine.scripted.replies_process",
            setup,
            purpose="replies of the scripted engine",
            n_processes=1,
            wait_s=_WAIT_S,
            deadline_s=_WAIT_S,
        )
        self._kept: dict[bytes, tuple[int, ...]] = {}
        self._n_kept = 0
        self._closed = False

    async def follow(self, grammar: Grammar, script: Sequence[int], *, whole: bool) -> Sequence[int]:
        """The tokens of `script` that fit, and what completes them. `whole` says that the script ends there.

        Raises `GrammarFailed` if no end is found.
        """
        key = hashlib.sha256(repr((grammar.lark, [*script], whole)).encode()).digest()
        if key not in self._kept:
            self._keep(key, await self._find(grammar.lark, script, whole))
        return self._kept[key]

    async def aclose(self) -> None:
        """No reply is looked for any more."""
        self._closed = True
        await self._pool.aclose()

    async def _find(self, lark: str, script: Sequence[int], whole: bool) -> tuple[int, ...]:
        if self._closed:
            raise EngineUnavailable("The engine is not available (engine_closed).", retry_after_s=1)
        search = ReplySearch(lark, [self._spelled(id) for id in script], whole)
        try:
            found = _FOUND.decode(await self._pool.ask(msgspec.json.encode(search)))
        except TooMuch:
            raise GrammarFailed("The grammar of this request takes too much time to follow.") from None
        if found.problem is not None:
            raise GrammarFailed(found.problem)  # it would not be found the next time either
        return (*script[: found.n_fitting], *self._encoded(found.rest))

    def _keep(self, key: bytes, reply: tuple[int, ...]) -> None:
        if key in self._kept:  # another request with the same grammar was quicker
            return
        self._kept[key] = reply
        self._n_kept += len(reply)
        while self._n_kept > KEPT_TOKENS and len(self._kept) > 1:
            self._n_kept -= len(self._kept.pop(next(iter(self._kept))))

    def _spelled(self, token_id: int) -> list[int]:
        """The token as `ShortestReplies` has it."""
        if token_id in self._control:
            return [token_id]
        return self._bytes.of_bytes(self._tokenizer.token_bytes(token_id))

    def _encoded(self, ids: Sequence[int]) -> list[int]:
        """A reply of `ShortestReplies` in tokens of the engine's vocabulary."""
        encoded: list[int] = []
        text = b""
        for id in ids:
            if id in self._control:
                encoded += [*self._tokenizer.encode(text.decode()), id]
                text = b""
            else:
                text += self._bytes.token_bytes(id)
        return encoded + self._tokenizer.encode(text.decode())
