"""The states of a ledger: where it can record entries now.

|            | the store answers | the last entries were recorded |
|------------|---|---|
| RECORDING  | yes | yes |
| SPOOLING   | no  | yes, in the spool |
| FAILING    | no  | no, the spool did not take them either |
| RECOVERING | yes | no, none has been written since |
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Literal, TypeAlias

Event: TypeAlias = Literal["store answered", "store failed", "recorded", "lost"]
"""A call of the store succeeded or failed; entries became durable, or could not."""


class LedgerState(Enum):
    """See the table above. `after` is the one way from a state to another."""

    RECORDING = auto()
    SPOOLING = auto()
    FAILING = auto()
    RECOVERING = auto()

    @property
    def reaches_store(self) -> bool:
        return self in (LedgerState.RECORDING, LedgerState.RECOVERING)

    @property
    def records(self) -> bool:
        """Whether the end of a request that starts now can be expected to be recorded."""
        return self in (LedgerState.RECORDING, LedgerState.SPOOLING)

    def after(self, event: Event) -> "LedgerState":
        """The next state; an event that changes nothing is not in the table."""
        return _AFTER.get((self, event), self)


_AFTER: Mapping[tuple[LedgerState, Event], LedgerState] = MappingProxyType(
    {
        (LedgerState.RECORDING, "store failed"): LedgerState.SPOOLING,
        (LedgerState.RECORDING, "lost"): LedgerState.RECOVERING,
        (LedgerState.SPOOLING, "store answered"): LedgerState.RECORDING,
        (LedgerState.SPOOLING, "lost"): LedgerState.FAILING,
        (LedgerState.FAILING, "store answered"): LedgerState.RECOVERING,
        (LedgerState.FAILING, "recorded"): LedgerState.SPOOLING,
        (LedgerState.RECOVERING, "recorded"): LedgerState.RECORDING,
        (LedgerState.RECOVERING, "store failed"): LedgerState.FAILING,
    }
)
