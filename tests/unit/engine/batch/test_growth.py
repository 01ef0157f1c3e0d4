"""Growth, with a real grammar on a vocabulary of bytes and a few control tokens."""

import pytest
from llguidance import LLMatcher

from tessera.core.generation import EngineFinish, Sampling, ThinkingBudget
from tessera.engine.batch import growth
from tessera.engine.batch.constraint import CompiledGrammar, Constraint
from tessera.engine.batch.sampling import Sampler
from tessera.engine.batch.sequence import TokenSequence
from tessera.errors import GrammarFailed
from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.llg import LIMITS, llg_tokenizer

END, CLOSE, SIZE = 256, 257, 258
TOKENIZER = ByteTokenizer(SIZE, {"<|im_end|>": END, "</think>": CLOSE})
LLG = llg_tokenizer(TOKENIZER, [END])
PROMPT = [1, 2, 3]
CLOSING = (*b"\n", CLOSE, *b"\n\n")
SPELLED = tuple(b"\n</think>\n\n")
CONTEXT = 1000


def constraint(lark: str) -> Constraint:
    matcher = LLMatcher(LLG, LLMatcher.grammar_from_lark(lark), log_level=0, limits=LIMITS)
    return Constraint(CompiledGrammar(matcher, len(lark)), matcher)


def sequence(
    lark: str | None = None,
    *,
    budget: ThinkingBudget | None = None,
    logprobs: int | None = None,
    most: int = 99,
) -> TokenSequence:
    sampling = Sampling(most, frozenset({END}), top_logprobs=logprobs, thinking_budget=budget)
    return TokenSequence(
        request=0,
        index=0,
        tokens=[*PROMPT],
        n_prompt=len(PROMPT),
        salt=b"",
        rank=(0, 0, 0),
        sampling=sampling,
        sampler=Sampler(sampling, 0, PROMPT, SIZE),
        spell=TOKENIZER.token_bytes,
        constraint=None if lark is None else constraint(lark),
        thinking_left=budget and budget.n_tokens,
    )


def force(one: TokenSequence, context_tokens: int, token_id: int | None = None) -> None:
    growth.force(one, growth.follow(one, token_id, context_tokens)())


def grow(one: TokenSequence, token_id: int, context_tokens: int) -> EngineFinish | None:
    """Does all three steps as the engine does."""
    finish = growth.grow(one, token_id, context_tokens)
    if not finish:
        force(one, context_tokens, token_id)
    return finish


def grown(sequence: TokenSequence, text: bytes | tuple[int, ...]) -> bytes:
    """The output after the tokens of this text have been sampled."""
    for token_id in text:
        assert grow(sequence, token_id, CONTEXT) is None
    return b"".join(map(TOKENIZER.token_bytes, sequence.tokens[sequence.n_prompt :]))


def test_what_the_grammar_forces_is_appended_and_left_to_be_computed() -> None:
    one = sequence('start: "ab" /[xy]/ "cd"')
    force(one, CONTEXT)
    assert grown(one, b"") == b"ab"
    assert grown(one, b"y") == b"abycd"
    assert one.n_pending == len(one.tokens)
    assert grow(one, END, CONTEXT) == "stop"
    assert one.report("stop").token_ids == (*b"abycd", END)


def test_the_grammar_may_have_no_place_for_a_token() -> None:
    with pytest.raises(GrammarFailed):
        grow(sequence('start: /[xy]/ "a"'), ord("z"), CONTEXT)


@pytest.mark.parametrize("most", range(1, 8))
def test_forced_tokens_leave_room_for_a_sampled_one(most: int) -> None:
    one = sequence('start: "abcd" /[xy]/ "ef"', most=most)
    force(one, CONTEXT)
    finish = None
    while finish is None:
        assert one.n_output < most
        finish = grow(one, b"abcdxef"[one.n_output], CONTEXT)
    assert (one.n_output, finish) == (most, "length")


def test_forced_tokens_keep_within_the_context() -> None:
    one = sequence('start: "abcdef"')
    force(one, len(PROMPT) + 3)
    assert one.n_output == 2
    assert grow(one, ord("c"), len(PROMPT) + 3) == "length"


@pytest.mark.parametrize(
    ("closing", "end"), [(CLOSING, CLOSE), (SPELLED, "</think>")], ids=["control", "spelled"]
)
class TestThinkingBudget:
    def test_it_is_closed_at_the_budget(self, closing: tuple[int, ...], end: int | str) -> None:
        one = sequence(budget=ThinkingBudget(3, closing, end))
        force(one, CONTEXT)
        assert grown(one, b"ab") == b"ab"
        assert grown(one, b"c") == b"abc\n</think>\n\n"
        assert one.thinking_left is None
        assert grown(one, b"defgh") == b"abc\n</think>\n\ndefgh"

    def test_a_budget_of_nothing_is_closed_at_once(self, closing: tuple[int, ...], end: int | str) -> None:
        one = sequence(budget=ThinkingBudget(0, closing, end))
        force(one, CONTEXT)
        assert grown(one, b"a") == b"\n</think>\n\na"

    def test_it_may_be_closed_before(self, closing: tuple[int, ...], end: int | str) -> None:
        one = sequence(budget=ThinkingBudget(20, closing, end))
        written = grown(one, (*b"hm", *closing))
        assert one.thinking_left is None
        assert grown(one, b"x" * 30) == written + b"x" * 30

    def test_what_is_forced_has_logprobs_too(self, closing: tuple[int, ...], end: int | str) -> None:
        one = sequence(budget=ThinkingBudget(0, closing, end), logprobs=2)
        force(one, CONTEXT)
        chunk = one.report(None)
        assert chunk.token_ids == closing
        assert [(each.token_id, each.logprob) for each in chunk.logprobs] == [(id, 0.0) for id in closing]
        assert one.logprobs == []

    def test_the_grammar_goes_on_after_it(self, closing: tuple[int, ...], end: int | str) -> None:
        before = "TEXT <[257]>" if end == CLOSE else "until"
        lark = f'start: {before} "\\n\\n" "a" /[bc]/\nTEXT: /(?s:.*)/\nuntil[suffix="</think>"]: TEXT'
        one = sequence(lark, budget=ThinkingBudget(2, closing, end))
        force(one, CONTEXT)
        assert grown(one, b"xy") == b"xy\n</think>\n\n"
        assert grown(one, b"ab") == b"xy\n</think>\n\nab"
        assert grow(one, END, CONTEXT) == "stop"

    def test_within_a_character_it_waits(self, closing: tuple[int, ...], end: int | str) -> None:
        before = "TEXT <[257]>" if end == CLOSE else "until"
        lark = f'start: {before} "\\n\\n" /[bc]/\nTEXT: /(?s:.*)/\nuntil[suffix="</think>"]: TEXT'
        one = sequence(lark, budget=ThinkingBudget(1, closing, end))
        smile = "😀".encode()
        assert grown(one, smile[:3]) == smile[:3]
        assert grown(one, smile[3:]) == smile + b"\n</think>\n\n"


def test_with_logprobs_every_token_of_a_grammar_is_sampled() -> None:
    one = sequence('start: "abc"', logprobs=0)
    force(one, CONTEXT)
    assert grown(one, b"a") == b"a"
