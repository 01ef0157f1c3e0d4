"""Steps as long as a target, on machines of any speed: durations are computed, never measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples

from tessera.engine.batch.pace import PROMPT_TOKENS_AT_LEAST, WITH_PROMPTS, Pace

GAP_S = 0.2
MOST = 256
STEPS = st.floats(0.001, 0.3)
TOKENS = st.floats(0.0001, 0.02)


@examples(200)
@given(STEPS, TOKENS, STEPS, TOKENS)
def test_steps_come_to_keep_the_target_whatever_the_machine_did_before(
    old_step_s: float, old_token_s: float, step_s: float, token_s: float
) -> None:
    pace = Pace(GAP_S)
    for _ in range(50):
        n_prompt = pace.prompt_tokens(MOST)
        pace.measure(n_prompt, old_step_s + old_token_s * n_prompt)
    for _ in range(300):
        n_prompt = pace.prompt_tokens(MOST)
        pace.measure(n_prompt, step_s + token_s * n_prompt)
        pace.measure(0, step_s)
    n_prompt = pace.prompt_tokens(MOST)
    assert n_prompt == PROMPT_TOKENS_AT_LEAST or step_s + token_s * n_prompt <= 1.1 * WITH_PROMPTS * GAP_S


@examples(100)
@given(st.floats(0.001, 0.5 * WITH_PROMPTS * GAP_S), TOKENS, st.integers(0, 3))
def test_what_the_target_allows_is_used(step_s: float, token_s: float, n_without_prompts: int) -> None:
    pace = Pace(GAP_S)
    pace.measure(MOST, step_s + token_s * MOST)
    for _ in range(200):
        for n_prompt in (pace.prompt_tokens(MOST), *[0] * n_without_prompts):
            pace.measure(n_prompt, step_s + token_s * n_prompt)
    right = min(MOST, (WITH_PROMPTS * GAP_S - step_s) / token_s)
    assert pace.prompt_tokens(MOST) >= 0.8 * right - PROMPT_TOKENS_AT_LEAST


@given(st.lists(st.tuples(st.integers(0, MOST), st.floats(1e-6, 100)), max_size=30), st.integers(1, 300))
def test_there_is_always_a_share_and_never_more_than_the_most(
    measured: list[tuple[int, float]], most: int
) -> None:
    pace = Pace(GAP_S)
    for step in measured:
        pace.measure(*step)
    assert min(most, PROMPT_TOKENS_AT_LEAST) <= pace.prompt_tokens(most) <= most


def test_without_a_target_prompts_take_all() -> None:
    pace = Pace(float("inf"))
    pace.measure(MOST, 100.0)
    assert pace.prompt_tokens(MOST) == MOST


@pytest.mark.parametrize("n_prompt", [0, MOST])
def test_one_slow_step_does_not_make_the_share_collapse(n_prompt: int) -> None:
    pace = Pace(GAP_S)
    for _ in range(20):
        pace.measure(64, 0.02 + 64 * 0.0005)
    before = pace.prompt_tokens(MOST)
    pace.measure(n_prompt, 50.0)
    assert pace.prompt_tokens(MOST) >= before / 3
