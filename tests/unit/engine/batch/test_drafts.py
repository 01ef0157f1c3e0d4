"""Guesses come from what was said before, and are made where they are right often enough."""

from hypothesis import given
from hypothesis import strategies as st

from tessera.engine.batch.drafts import DRAFT_TOKENS, Lookup

TOKENS = st.lists(st.integers(0, 3), max_size=60)


def follow(prompt: list[int], output: list[int]) -> Lookup:
    tokens = list(prompt)
    lookup = Lookup(tokens, 1.5)
    for token in output:
        tokens.append(token)
        lookup.follow()
    return lookup


@given(TOKENS, TOKENS)
def test_drafts_do_not_depend_on_how_many_tokens_come_at_once(prompt: list[int], output: list[int]) -> None:
    one_by_one = follow(prompt, output)
    tokens = list(prompt)
    at_once = Lookup(tokens, 1.5)
    tokens += output
    at_once.follow()
    draft = one_by_one.draft()
    assert draft == at_once.draft()
    assert len(draft) in {0, DRAFT_TOKENS}
    assert set(draft) <= {*prompt, *output}


@given(st.integers(2, 9))
def test_a_text_in_a_loop_is_guessed_beyond_its_end(period: int) -> None:
    output = [position % period for position in range(60)]
    assert follow([99], output).draft() == [(60 + ahead) % period for ahead in range(DRAFT_TOKENS)]


def test_what_followed_two_tokens_in_the_prompt_comes_before_what_followed_one() -> None:
    prompt = [5, 6, *range(20, 40), 9, 6, *range(40, 60)]
    copied = [*range(20, 40)] * 2
    assert follow(prompt, [*copied, 5, 6]).draft()[:2] == [20, 21]
    assert follow(prompt, [*copied, 7, 6]).draft()[:2] == [40, 41]


def test_after_a_token_that_is_new_the_rows_of_the_pass_stay_what_they_are() -> None:
    assert follow([1, 2, 3], [1, 2, 3] * 10 + [77]).draft() == [77] * DRAFT_TOKENS


def test_nothing_is_guessed_before_guesses_were_right() -> None:
    assert follow([1, 2, 3] * 10, [1, 2]).draft() == []


def test_drafts_begin_with_success_and_end_with_failure() -> None:
    looping, new = [1, 2, 3, 4] * 8, list(range(100, 140))
    assert follow([9], looping).draft()
    assert not follow([9], looping + new).draft()
