"""What an account may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tessera.access.window import Rate
from tessera.errors import StartupError

OPERATOR_TIER = "enterprise"
"""Of the operator's own key."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Requests a minute, for good and in bursts; the window of a prompt and its reply; tokens of reasoning a
    day (None: any number); requests at once; and the priority in the line and in the engine.
    """

    name: str
    sustained_rpm: int
    burst_rpm: int
    context_tokens: int
    thinking_tokens_per_day: int | None
    concurrency: int
    priority: int

    @property
    def rate(self) -> Rate:
        """Of requests."""
        return Rate(self.sustained_rpm, self.burst_rpm)


DEFAULTS: Mapping[str, Tier] = MappingProxyType(
    {
        tier.name: tier
        for tier in (
            Tier("lite", 50, 100, 32_768, 200_000, 4, 1),
            Tier("pro", 200, 400, 32_768, 1_000_000, 16, 2),
            Tier("scale", 500, 700, 32_768, 5_000_000, 64, 3),
            Tier("enterprise", 5_000, 7_000, 262_144, None, 512, 4),
        )
    }
)


class Tiers:
    """The tiers by name."""

    def __init__(self, tiers: Mapping[str, Tier] = DEFAULTS) -> None:
        self._tiers = dict(tiers)

    def __getitem__(self, name: str) -> Tier:
        """Raises `StartupError` for a tier that is not configured, naming those that are."""
        if name not in self._tiers:
            raise StartupError(f"There is no tier {name!r}. Use one of: {', '.join(self._tiers)}.")
        return self._tiers[name]

    def names(self) -> tuple[str, ...]:
        """In the order of the configuration."""
        return tuple(self._tiers)
