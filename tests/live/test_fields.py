"""Every field of a request has its effect on the real model."""

from typing import Any

import openai
import pytest
from tests.live.conftest import NO_BUDGETS, LiveService

pytestmark = [pytest.mark.live, pytest.mark.full]
SHORT: dict[str, Any] = {"max_tokens": 10}


def text(reply: Any, index: int = 0) -> str:
    return reply.choices[index].message.content or ""


def words(reply: Any) -> list[str]:
    return text(reply).split()


def ids_of(service: LiveService, word: str) -> int:
    """The id of a text that is one token."""
    (token_id,) = service.model.tokenizer.encode(word)
    return token_id


def test_seed(service: LiveService) -> None:
    first, again, other, none, none_again = (
        text(service.ask(seed=seed, temperature=1, **SHORT)) for seed in (1, 1, 2, None, None)
    )
    assert first == again
    assert len({first, other, none, none_again}) == 4


def test_temperature_0_is_greedy(service: LiveService) -> None:
    assert len({text(service.ask(seed=seed, temperature=0, **SHORT)) for seed in range(3)}) == 1


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 0.01}, {"min_p": 1.0}], ids=str)
def test_cuts_that_leave_the_best_token(service: LiveService, narrow: dict[str, float]) -> None:
    greedy = text(service.ask(temperature=0, **SHORT))
    assert text(service.ask(temperature=2, seed=1, **narrow, **SHORT)) == greedy
    assert text(service.ask(temperature=2, seed=1, **SHORT)) != greedy


def test_logit_bias(service: LiveService) -> None:
    sea = ids_of(service, " sea")
    assert text(service.ask(logit_bias={str(sea): 100}, temperature=0, **SHORT)) == " sea" * 10
    usual = service.ask(temperature=0, **SHORT)
    assert " sea" in text(usual)
    assert " sea" not in text(service.ask(logit_bias={str(sea): -100}, temperature=0, **SHORT))


def test_n_is_many_replies_to_one_prompt(service: LiveService) -> None:
    one, three = (service.ask(n=n, seed=7, temperature=1, **SHORT) for n in (1, 3))
    assert [choice.index for choice in three.choices] == [0, 1, 2]
    assert len({text(three, index) for index in range(3)}) == 3
    assert text(three) == text(one)
    assert three.usage.prompt_tokens == one.usage.prompt_tokens
    assert three.usage.completion_tokens > 2 * one.usage.completion_tokens


@pytest.mark.parametrize(
    ("name", "less", "more"),
    [("presence_penalty", 2, -2), ("frequency_penalty", 2, -2), ("repetition_penalty", 1.5, 0.7)],
)
def test_penalties_make_words_come_less_or_more_often(
    service: LiveService, name: str, less: Any, more: Any
) -> None:
    def asked(value: float) -> list[str]:
        fields: dict[str, Any] = {name: value}
        return words(service.ask(temperature=0, max_tokens=24, **fields))

    varied, repeated = asked(less), asked(more)
    assert len(set(varied)) > len(set(repeated))


def test_stop_strings_end_the_reply(service: LiveService) -> None:
    usual = text(service.ask(temperature=0, max_tokens=24))
    stop = usual.split()[3]
    stopped = service.ask(temperature=0, max_tokens=24, stop=["no such text", stop])
    assert text(stopped) == usual[: usual.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    chunks = service.ask(temperature=0, max_tokens=24, stop=stop, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text(stopped)


def test_stop_strings_do_not_act_in_the_reasoning(service: LiveService) -> None:
    if not service.budgets:
        pytest.skip(NO_BUDGETS)
    asked: dict[str, Any] = {
        "temperature": 0,
        "thinking_token_budget": 24,
        "max_tokens": 40,
        "chat_template_kwargs": {"enable_thinking": True},
    }
    usual = service.ask(**asked).choices[0].message
    stop = usual.reasoning.split()[1]
    stopped = service.ask(**asked, stop=stop).choices[0].message
    assert stopped.reasoning == usual.reasoning
    assert stopped.content == ((usual.content or "").partition(stop)[0] or None)


@pytest.mark.parametrize("top", [0, 3, 20])
def test_logprobs(service: LiveService, top: int) -> None:
    (choice,) = service.ask(logprobs=True, top_logprobs=top, temperature=0, **SHORT).choices
    scores = choice.logprobs.content
    assert bytes(byte for score in scores for byte in score.bytes).decode() == choice.message.content
    assert "".join(score.token for score in scores) == choice.message.content
    assert {len(score.top_logprobs) for score in scores} == {top}
    assert all(score.logprob <= 0 for score in scores)
    if top:
        best = [score.top_logprobs[0] for score in scores]
        assert [score.token for score in scores] == [alternative.token for alternative in best]
        assert all(
            a.logprob >= b.logprob
            for s in scores
            for a, b in zip(s.top_logprobs, s.top_logprobs[1:], strict=False)
        )


def test_logprobs_come_with_the_visible_text_only(service: LiveService) -> None:
    if not service.budgets:
        pytest.skip(NO_BUDGETS)
    (choice,) = service.ask(
        logprobs=True,
        max_tokens=48,
        temperature=0,
        thinking_token_budget=16,
        chat_template_kwargs={"enable_thinking": True},
    ).choices
    assert choice.message.content
    assert "".join(score.token for score in choice.logprobs.content) == choice.message.content


@pytest.mark.parametrize(
    ("limits", "n_tokens"),
    [
        ({"max_tokens": 3}, 3),
        ({"max_completion_tokens": 2}, 2),
        ({"max_tokens": 5, "max_completion_tokens": 2}, 2),
    ],
    ids=str,
)
def test_limits(service: LiveService, limits: dict[str, Any], n_tokens: int) -> None:
    reply = service.ask(**limits)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage.completion_tokens == n_tokens


def test_thinking_is_off_unless_asked_for(service: LiveService) -> None:
    for extra in ({}, {"chat_template_kwargs": {"enable_thinking": False}}):
        reply = service.ask(**extra, **SHORT)
        assert not hasattr(reply.choices[0].message, "reasoning")
        assert reply.usage.completion_tokens_details.reasoning_tokens == 0


@pytest.mark.parametrize("budget", [8, 24])
def test_the_thinking_budget(service: LiveService, budget: int) -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}, "thinking_token_budget": budget}
    if not service.budgets:
        with pytest.raises(openai.BadRequestError, match="reasoning ends with ordinary text"):
            service.ask(**thinking)
        return
    reply = service.ask(**thinking, temperature=0, max_tokens=64)
    message, usage = reply.choices[0].message, reply.usage
    assert message.reasoning == message.reasoning_content
    assert message.content
    assert 0 < usage.completion_tokens_details.reasoning_tokens <= budget
    assert usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    cut = service.ask(**thinking, temperature=0, max_tokens=2)
    assert (cut.choices[0].message.content, cut.choices[0].finish_reason) == (None, "length")
    assert cut.usage.completion_tokens_details.reasoning_tokens == 2


def test_fields_without_effect(service: LiveService) -> None:
    usual = service.ask(temperature=0, **SHORT)
    fields: dict[str, Any] = {
        "reasoning_effort": "high",
        "verbosity": "low",
        "user": "me",
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "prompt_cache_key": "k",
    }
    reply = service.ask(temperature=0, **SHORT, **fields)
    assert text(reply) == text(usual)
    assert reply.usage.prompt_tokens == usual.usage.prompt_tokens


def test_usage_of_a_stream_is_that_of_the_reply(service: LiveService) -> None:
    asked: dict[str, Any] = {"temperature": 0, "n": 2, **SHORT}
    whole = service.ask(**asked)
    *_, last = service.ask(**asked, stream=True, stream_options={"include_usage": True})
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    assert last.usage.total_tokens == last.usage.prompt_tokens + last.usage.completion_tokens


def test_cards_say_what_the_model_can_do(service: LiveService) -> None:
    card: Any = service.client.models.retrieve(service.model.id)
    assert card.modes == ["direct", "thinking"]
    assert card.features == ["logprobs", "n", "structured_output", "thinking_budget", "tools"]
