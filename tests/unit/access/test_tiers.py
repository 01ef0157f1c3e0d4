import pytest

from tessera.access.tiers import DEFAULTS, FIELDS, Tier, configured, limited
from tessera.access.window import Rate
from tessera.core.budgets import TokenBudget
from tessera.errors import OperatorError, StartupError

WHOLE: dict[str, int | str] = {
    "sustained_rpm": 10,
    "burst_rpm": 20,
    "context_tokens": 4096,
    "thinking_tokens_per_day": 0,
    "concurrency": 2,
    "priority": 0,
}


def test_without_tables_the_defaults_hold() -> None:
    tiers = configured({})
    assert tiers.names() == ("lite", "pro", "scale", "enterprise", "operator")
    assert tiers["lite"] == Tier("lite", 50, 100, 32_768, 200_000, 4, 1)
    assert [tiers[name] for name in tiers.names()] == list(DEFAULTS.values())


def test_a_table_overrides_fields_and_a_new_name_is_a_new_tier() -> None:
    tiers = configured({"lite": {"concurrency": 9}, "tiny": WHOLE})
    assert tiers["lite"] == Tier("lite", 50, 100, 32_768, 200_000, 9, 1)
    assert tiers["tiny"] == Tier("tiny", 10, 20, 4096, 0, 2, 0)
    assert tiers["pro"] == DEFAULTS["pro"]


def test_thinking_may_be_unlimited() -> None:
    assert (
        configured({"pro": {"thinking_tokens_per_day": "unlimited"}})["pro"].thinking_tokens_per_day is None
    )


def test_an_unknown_tier_is_named_with_those_that_are_known() -> None:
    with pytest.raises(OperatorError, match=r"'gold'.*lite, pro, scale, enterprise, operator"):
        configured({})["gold"]


@pytest.mark.parametrize(
    ("name", "table", "named"),
    [
        ("lite", {"rpm": 1}, "tiers.lite.rpm is not a field"),
        ("lite", {"name": "x"}, "tiers.lite.name is not a field"),
        ("lite", {"concurrency": 0}, "tiers.lite.concurrency is 0: a whole number from 1"),
        ("lite", {"concurrency": True}, "tiers.lite.concurrency is True"),
        ("lite", {"concurrency": "unlimited"}, "tiers.lite.concurrency is 'unlimited'"),
        ("lite", {"thinking_tokens_per_day": "none"}, 'or "unlimited" is needed'),
        ("lite", {"sustained_rpm": 101}, "tiers.lite.burst_rpm is 100, less than"),
        ("gold", {"priority": 1}, "tiers.gold is a new tier: it also needs sustained_rpm, burst_rpm"),
    ],
)
def test_what_is_wrong_is_named(name: str, table: dict[str, int | str], named: str) -> None:
    with pytest.raises(StartupError) as caught:
        configured({name: table})
    assert named in caught.value.message


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(StartupError) as caught:
        configured({name: dict.fromkeys(FIELDS, -1) for name in ("lite", "pro")})
    assert len(caught.value.message.splitlines()) == 2 * len(FIELDS)


def test_budgets_of_tiers_are_changed_one_by_one() -> None:
    budgets: dict[str, int | str] = {"total_tokens_per_day": 5, "prompt_tokens_per_month": 7}
    tier = configured({"tiny": {**WHOLE, **budgets}})["tiny"]
    assert tier.budgets == (TokenBudget("total_tokens_per_day", 5), TokenBudget("prompt_tokens_per_month", 7))
    own = limited(tier, {"total_tokens_per_day": "unlimited", "reasoning_tokens_per_day": 0})
    assert own.budgets == (
        TokenBudget("prompt_tokens_per_month", 7),
        TokenBudget("reasoning_tokens_per_day", 0),
    )


def test_limits_of_an_account_are_over_those_of_its_tier() -> None:
    lite = DEFAULTS["lite"]
    assert limited(lite, {}) is lite
    own = limited(lite, {"concurrency": 1, "thinking_tokens_per_day": "unlimited", "of_tomorrow": 5})
    assert own == Tier("lite", 50, 100, 32_768, None, 1, 1)
    # The account had another tier when its limits were set.
    assert limited(lite, {"burst_rpm": 20}).rate == Rate(20, 20)
