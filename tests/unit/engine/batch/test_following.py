"""Grammars are compiled and followed in threads; the engine takes what has become ready."""

from concurrent.futures import wait

import pytest

from tessera.core.generation import Grammar, Sampling
from tessera.engine.batch.constraint import Constraint, GrammarCompiler
from tessera.engine.batch.following import GrammarFollower
from tessera.engine.batch.masks import Masks
from tessera.engine.batch.sampling import Sampler
from tessera.engine.batch.sequence import TokenSequence
from tessera.errors import GrammarFailed
from tessera.grammars.bytewise import ByteTokenizer

END, SIZE = 256, 257
PROMPT = [1, 2, 3]


@pytest.fixture
def follower() -> GrammarFollower:
    tokenizer = ByteTokenizer(SIZE, {"<|im_end|>": END})
    return GrammarFollower(GrammarCompiler(tokenizer, [END], SIZE), Masks(SIZE), context_tokens=100)


def sequence(constraint: Constraint | None = None) -> TokenSequence:
    sampling = Sampling(50, frozenset({END}))
    return TokenSequence(
        request=7,
        index=0,
        tokens=[*PROMPT],
        n_prompt=len(PROMPT),
        salt=b"",
        rank=(0, 0, 0),
        sampling=sampling,
        sampler=Sampler(sampling, 0, PROMPT, SIZE),
        spell=lambda token_id: bytes([token_id]),
        constraint=constraint,
    )


def compiled(follower: GrammarFollower, lark: str) -> Constraint | GrammarFailed:
    follower.compile(7, Grammar(lark), b"")
    wait(follower.pending([]), 30)
    ((request, result),) = follower.compiled()
    assert request == 7
    assert [*follower.compiled()] == follower.pending([]) == []
    return result


def test_what_a_grammar_forces_is_appended_when_a_thread_has_found_it(follower: GrammarFollower) -> None:
    constraint = compiled(follower, 'start: "abc" ("x" | "y")')
    assert isinstance(constraint, Constraint)
    one = sequence(constraint)
    follower.follow(one)
    assert one.sits_out
    (following,) = follower.pending([one])
    wait([following], 30)
    assert follower.force(one) is None
    assert bytes(one.tokens[len(PROMPT) :]) == b"abc"
    assert follower.force(one) is None  # once
    assert len(one.tokens) == len(PROMPT) + 3


def test_a_token_that_the_grammar_does_not_allow_fails_the_request(follower: GrammarFollower) -> None:
    constraint = compiled(follower, 'start: "a" | "b"')
    assert isinstance(constraint, Constraint)
    one = sequence(constraint)
    follower.follow(one, ord("z"))
    wait(follower.pending([one]), 30)
    assert isinstance(follower.force(one), GrammarFailed)


def test_a_grammar_that_does_not_compile_is_returned_as_the_error(follower: GrammarFollower) -> None:
    assert isinstance(compiled(follower, "start: ("), GrammarFailed)


def test_a_compilation_is_cancelled_once(follower: GrammarFollower) -> None:
    follower.compile(7, Grammar('start: "a"'), b"")
    assert follower.cancel(7)
    assert not follower.cancel(7)
    assert [*follower.compiled()] == []


def test_a_sequence_without_a_grammar_is_followed_at_once(follower: GrammarFollower) -> None:
    one = sequence()
    follower.follow(one)
    assert follower.pending([one]) == []
    assert one.tokens == PROMPT
