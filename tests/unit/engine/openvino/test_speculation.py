"""Guesses come from what was said before, and the more often they are right the longer they are."""

from hypothesis import given
from hypothesis import strategies as st

from tessera.engine.openvino.speculation import Lookup

TOKENS = st.lists(st.integers(0, 3), max_size=60)


def follow(prompt: list[int], output: list[int]) -> Lookup:
    tokens = list(prompt)
    lookup = Lookup(tokens)
    for token in output:
        tokens.append(token)
        lookup.follow()
    return lookup


@given(TOKENS, TOKENS, st.integers(-1, 8))
def test_drafts_do_not_depend_on_how_many_tokens_come_at_once(
    prompt: list[int], output: list[int], longest: int
) -> None:
    one_by_one = follow(prompt, output)
    tokens = list(prompt)
    at_once = Lookup(tokens)
    tokens += output
    at_once.follow()
    draft = one_by_one.draft(longest)
    assert draft == at_once.draft(longest)
    assert len(draft) <= max(longest, 0)
    assert set(draft) <= {*prompt, *output}


@given(st.integers(2, 9), st.integers(1, 7))
def test_a_text_in_a_loop_is_guessed_beyond_its_end(period: int, longest: int) -> None:
    output = [position % period for position in range(60)]
    draft = follow([99], output).draft(longest)
    assert draft == [(60 + ahead) % period for ahead in range(longest)]


def test_what_follows_in_the_prompt_is_guessed() -> None:
    assert follow([5, 6, 7, 8], [1, 5, 6]).draft(1) == [7]


def test_nothing_is_guessed_after_what_is_new() -> None:
    assert follow([1, 2, 3], [4, 5]).draft(8) == []


def test_guesses_grow_with_success_and_end_with_failure() -> None:
    never_alike = [token for last in range(10, 30) for token in (1, 2, last)]
    assert len(follow([9], [1, 2, 3, 4] * 10).draft(8)) == 8
    assert follow([9], [1, 2, 3, 1, 2]).draft(8) == [3]
    assert follow([9], [*never_alike, 1, 2]).draft(8) == []
