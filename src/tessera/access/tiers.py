"""Tiers: what the accounts of each may use."""

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, cast

from tessera.access.window import Rate
from tessera.errors import OperatorError, StartupError

OPERATOR_TIER = "operator"
"""The tier of the key that the service is started with; unless configured, its limits are out of reach."""

MAX_RPM = 10**6
MAX_CONTEXT_TOKENS = 2**24
MAX_CONCURRENCY = 2**20


@dataclass(frozen=True, slots=True)
class Tier:
    """Requests a minute, sustained and in bursts; the context window; tokens of reasoning a day (None: any
    number); choices at once; the priority in the queue and in the engine; and the limit of a reply whose
    request sets none (None: the model's).
    """

    name: str
    sustained_rpm: int
    burst_rpm: int
    context_tokens: int
    thinking_tokens_per_day: int | None
    concurrency: int
    priority: int
    default_output_tokens: int | None = None

    @property
    def rate(self) -> Rate:
        return Rate(self.sustained_rpm, self.burst_rpm)


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
"""The configuration's word for `thinking_tokens_per_day` None."""

FIELDS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        "sustained_rpm": (1, MAX_RPM),
        "burst_rpm": (1, MAX_RPM),
        "context_tokens": (64, MAX_CONTEXT_TOKENS),
        "thinking_tokens_per_day": (0, 10**12),
        "concurrency": (1, MAX_CONCURRENCY),
        "priority": (0, 100),
    }
)
"""The fields of a tier's table, and their bounds."""

OPTIONAL_FIELDS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"default_output_tokens": (1, MAX_CONTEXT_TOKENS)}
)
"""Fields that a new tier need not have."""


def configured(tables: Mapping[str, Mapping[str, int | str]]) -> "Tiers":
    """The default tiers, changed by the tables of the same names, and new tiers, whose tables must be
    complete. Raises `StartupError` with a line for each problem.
    """
    tiers = dict(DEFAULTS)
    problems = list[str]()
    for name, table in tables.items():
        known = asdict(DEFAULTS[name]) if name in DEFAULTS else {"name": name}
        wrong = [*_wrong_fields(name, table), *_missing(name, known.keys() | table.keys())]
        if not wrong:
            given = {field: None if value == UNLIMITED else value for field, value in table.items()}
            tiers[name] = tier = Tier(**cast("dict[str, Any]", known | given))
            if tier.burst_rpm < tier.sustained_rpm:
                wrong = [f"tiers.{name}.burst_rpm is {tier.burst_rpm}, less than its sustained_rpm."]
        problems += wrong
    if problems:
        raise StartupError("\n".join(problems))
    return Tiers(tiers)


def _wrong_fields(name: str, table: Mapping[str, int | str]) -> list[str]:
    wrong: list[str] = []
    bounds = {**FIELDS, **OPTIONAL_FIELDS}
    for field, value in table.items():
        if field not in bounds:
            wrong.append(f"tiers.{name}.{field} is not a field of a tier. Use {', '.join(bounds)}.")
            continue
        low, high = bounds[field]
        endless = field == "thinking_tokens_per_day"
        if not (type(value) is int and low <= value <= high) and not (endless and value == UNLIMITED):
            also = f' or "{UNLIMITED}"' if endless else ""
            needed = f"a whole number from {low} to {high}{also}"
            wrong.append(f"tiers.{name}.{field} is {value!r}: {needed} is needed.")
    return wrong


def _missing(name: str, given: Set[str]) -> list[str]:
    missing = [field for field in FIELDS if field not in given]
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

    def names(self) -> tuple[str, ...]:
        """In the order of the configuration."""
        return tuple(self._tiers)
