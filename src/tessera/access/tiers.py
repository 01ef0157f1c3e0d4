"""Tiers: what the accounts of each may use. An account may have limits of its own over those of its tier."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from tessera.access.window import Rate
from tessera.core.budgets import BUDGETS, MAX_BUDGET_TOKENS, TokenBudget, budgets_of
from tessera.core.chat import Caller
from tessera.errors import OperatorError, StartupError

OPERATOR_TIER = "operator"
"""The tier of the key that the service is started with; unless configured, its limits are out of reach."""

MAX_RPM = 10**6
MAX_CONTEXT_TOKENS = 2**24
MAX_CONCURRENCY = 2**20

Limits: TypeAlias = Mapping[str, int | str]
"""Values by the names of a tier's fields: numbers, or "unlimited"."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Requests a minute, sustained and in bursts; the context window; tokens of reasoning a day (None: any
    number); choices at once; the priority in the queue and in the engine; budgets of tokens; and the limit of
    a reply whose request sets none (None: the model's).
    """

    name: str
    sustained_rpm: int
    burst_rpm: int
    context_tokens: int
    thinking_tokens_per_day: int | None
    concurrency: int
    priority: int
    budgets: tuple[TokenBudget, ...] = ()
    default_output_tokens: int | None = None

    @property
    def rate(self) -> Rate:
        return Rate(self.sustained_rpm, self.burst_rpm)

    def caller(self, cache_salt: bytes) -> Caller:
        """A caller of this tier, whose account has that salt; the id of the request is still missing."""
        return Caller(
            cache_salt,
            self.priority,
            context_tokens=self.context_tokens,
            default_output_tokens=self.default_output_tokens,
        )


DEFAULTS: Mapping[str, Tier] = MappingProxyType(
    {
        tier.name: tier
        for tier in (
            Tier("lite", 50, 100, 32_768, 200_000, 4, 1),
            Tier("pro", 200, 400, 32_768, 1_000_000, 16, 2),
            Tier("scale", 500, 700, 32_768, 5_000_000, 64, 3),
            Tier("enterprise", 5_000, 7_000, 262_144, None, 512, 4),
            Tier(OPERATOR_TIER, MAX_RPM, MAX_RPM, MAX_CONTEXT_TOKENS, None, MAX_CONCURRENCY, 4),
        )
    }
)


UNLIMITED = "unlimited"
"""The configuration's word for any number of tokens."""

FIELDS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "sustained_rpm": (1, MAX_RPM),
        "burst_rpm": (1, MAX_RPM),
        "context_tokens": (64, MAX_CONTEXT_TOKENS),
        "thinking_tokens_per_day": (0, 10**12),
        "concurrency": (1, MAX_CONCURRENCY),
        "priority": (0, 100),
        "default_output_tokens": (1, MAX_CONTEXT_TOKENS),
        **dict.fromkeys(BUDGETS, (0, MAX_BUDGET_TOKENS)),
    }
)
"""The fields of a tier's table, and their bounds."""

_CAN_BE_UNLIMITED = frozenset({"thinking_tokens_per_day", *BUDGETS})
_NEEDED = tuple(name for name in FIELDS if name not in {"default_output_tokens", *BUDGETS})


def configured(tables: Mapping[str, Limits]) -> "Tiers":
    """The default tiers, changed by the tables of the same names, and new tiers, whose tables must have all
    fields except budgets and the limit of replies. Raises `StartupError` with a line for each problem.
    """
    tiers = dict(DEFAULTS)
    problems = list[str]()
    for name, table in tables.items():
        known = DEFAULTS.get(name)
        missing = () if known else _missing(name, table.keys())
        wrong = [*(f"tiers.{name}.{problem}" for problem in wrong_limits(table)), *missing]
        if not wrong:
            tiers[name] = tier = _changed(known or Tier(name, 0, 0, 0, None, 0, 0), table)
            if tier.burst_rpm < tier.sustained_rpm:
                wrong = [f"tiers.{name}.burst_rpm is {tier.burst_rpm}, less than its sustained_rpm."]
        problems += wrong
    if problems:
        raise StartupError("\n".join(problems))
    return Tiers(tiers)


def limited(tier: Tier, limits: Limits) -> Tier:
    """The tier with an account's own limits. If these were made for another tier, so that its burst would be
    below the sustained rate, the lower number holds. Unknown names, perhaps of a newer version, are ignored.
    """
    if not limits:
        return tier
    own = _changed(tier, {name: value for name, value in limits.items() if name in FIELDS})
    return replace(own, sustained_rpm=min(own.sustained_rpm, own.burst_rpm))


def wrong_limits(limits: Limits) -> list[str]:
    """A line for each name that is not a limit of a tier, and for each value that it cannot have."""
    wrong: list[str] = []
    for field, value in limits.items():
        if field not in FIELDS:
            wrong.append(f"{field} is not a field of a tier. Use {', '.join(FIELDS)}.")
            continue
        low, high = FIELDS[field]
        endless = field in _CAN_BE_UNLIMITED
        if not (type(value) is int and low <= value <= high) and not (endless and value == UNLIMITED):
            also = f' or "{UNLIMITED}"' if endless else ""
            needed = f"a whole number from {low} to {high}{also}"
            wrong.append(f"{field} is {value!r}: {needed} is needed.")
    return wrong


def _changed(tier: Tier, table: Limits) -> Tier:
    fields = {name: None if value == UNLIMITED else value for name, value in table.items()}
    budgets: dict[str, Any] = {each.name: each.limit_tokens for each in tier.budgets}
    budgets |= {name: fields.pop(name) for name in BUDGETS if name in fields}
    kept = budgets_of({name: tokens for name, tokens in budgets.items() if tokens is not None})
    return replace(tier, **cast("dict[str, Any]", fields), budgets=kept)


def _missing(name: str, given: Set[str]) -> list[str]:
    missing = [field for field in _NEEDED if field not in given]
    return [f"tiers.{name} is a new tier: it also needs {', '.join(missing)}."] if missing else []


class Tiers:
    """All tiers by name."""

    def __init__(self, tiers: Mapping[str, Tier] = DEFAULTS) -> None:
        self._tiers = dict(tiers)

    def __getitem__(self, name: str) -> Tier:
        """Raises `OperatorError` for an unknown tier; the message names the known ones."""
        if name not in self._tiers:
            known = ", ".join(self._tiers)
            raise OperatorError(f"There is no tier {name[:50]!r}. Use one of: {known}.", param="tier")
        return self._tiers[name]

    def __contains__(self, name: str) -> bool:
        return name in self._tiers

    def names(self) -> tuple[str, ...]:
        """In the order of the configuration."""
        return tuple(self._tiers)
