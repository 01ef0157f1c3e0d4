"""Finds the shortest reply that a grammar admits, which is what the scripted engine answers under a grammar.

`walk` explains the search, and when its result is the shortest reply for certain. The same grammar always
gives the same reply, since the budget counts steps; only giving up depends on time.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llguidance import LLMatcher

from tessera.engine.scripted.shortcuts import Shortcuts
from tessera.engine.scripted.walk import Moves, Walk, Width
from tessera.engine.scripted.words import words_of
from tessera.errors import GenerationFailed
from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.llg import LIMITS, llg_tokenizer

# The width of each search, the most bytes of a reply, and the most steps while no reply is known. A step
# takes about 10 µs. The narrowest search finds replies of thousands of bytes.
_SEARCHES = (
    (Width(2, 12, quick=True), 256, 8_000),
    (Width(8, 24, quick=True), 256, 12_000),
    (Width(1, 4, quick=True), 2**15, 40_000),
    (Width(2, 12, quick=True), 2**15, 40_000),
    (Width(8, 64, quick=False), 256, 20_000),
    (Width(64, 64, quick=False), 256, 20_000),
)
_FURTHER_STEPS = 3_000
"""The most steps of a search once a reply is known."""
_SHORTCUT_STEPS = 40_000
_DEADLINE_S = 20.0
"""In processor time of the thread, so that it does not depend on how busy the machine is."""

# Bytes that read well are preferred.
_READABLE = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PLAIN = bytes(dict.fromkeys(_READABLE + bytes(range(32, 127)).replace(b"\\", b"") + b"\n"))
_CLOSING = b'"}]\n<,'


class ShortestReplies:
    """Finds replies for the grammars of one vocabulary.

    Replies are ids of `tokenizer`, in which control tokens have their own ids and every byte of text is a
    token.
    """

    def __init__(self, control_tokens: Mapping[str, int], vocabulary_size: int) -> None:
        self.tokenizer = ByteTokenizer(vocabulary_size, control_tokens)
        byte_ids = self.tokenizer.byte_ids
        end = min(control_tokens.values(), default=0)
        self._llg = llg_tokenizer(self.tokenizer, [end])
        odd = [id for byte, id in enumerate(byte_ids) if byte not in _PLAIN]
        control = [id for id in control_tokens.values() if id != end]
        self._moves = Moves(
            ids=[*control, *(byte_ids[byte] for byte in _PLAIN), *odd],
            closing=[*control, *(byte_ids[byte] for byte in _CLOSING)],
            odd=frozenset(odd),
        )

    def complete(
        self, lark: str, parts: Sequence[Sequence[int]], *, whole: bool
    ) -> tuple[int, Sequence[int]]:
        """How many of `parts` a reply can begin with, and the shortest continuation from there to its end.

        If all parts fit and are not the `whole` reply, the continuation is empty. Raises `GenerationFailed`
        if no end is found within the bounds of the search.
        """
        matcher = LLMatcher(self._llg, LLMatcher.grammar_from_lark(lark), log_level=0, limits=LIMITS)
        if matcher.is_error():
            raise GenerationFailed("The grammar of this request does not compile.")
        n_fitting = 0
        for part in parts:
            if matcher.validate_tokens([*part]) < len(part) or not matcher.consume_tokens([*part]):
                break
            n_fitting += 1
        if n_fitting == len(parts) and not whole:
            return n_fitting, ()
        return n_fitting, self._shortest(lark, matcher)

    def _shortest(self, lark: str, begun: LLMatcher) -> list[int]:
        moves = replace(self._moves, words=[self.tokenizer.encode(word) for word in words_of(lark)])
        deadline = time.thread_time() + _DEADLINE_S
        best: list[int] | None = None
        for width, longest, n_steps in _SEARCHES:
            if best is not None:
                longest = len(best) - 1
                n_steps = _FURTHER_STEPS
            found = Walk(moves, width, longest=longest, n_steps=n_steps, deadline=deadline).find(
                begun.deep_copy()
            )
            best = best if found is None else found
        if best is None:
            raise GenerationFailed("No reply was found that the grammar of this request admits.")
        return Shortcuts(moves, _SHORTCUT_STEPS).shorten(begun, best)
