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


class State(Enum):
    """See the table above. `after` is the one way from a state to another."""

    RECORDING = auto()
    SPOOLING = auto()
    FAILING = auto()
    RECOVERING = auto()

    @property
    def reaches_store(self) -> bool:
        return self in (State.RECORDING, State.RECOVERING)

    @property
    def records(self) -> bool:
        """Whether the end of a request that starts now can be expected to be recorded."""
        return self in (State.RECORDING, State.SPOOLING)

    def after(self, event: Event) -> "State":
        """The next state; an event that changes nothing is not in the table."""
        return _AFTER.get((self, event), self)


_AFTER: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.RECORDING, "store failed"): State.SPOOLING,
        (State.RECORDING, "lost"): State.RECOVERING,
        (State.SPOOLING, "store answered"): State.RECORDING,
        (State.SPOOLING, "lost"): State.FAILING,
        (State.FAILING, "store answered"): State.RECOVERING,
        (State.FAILING, "recorded"): State.SPOOLING,
        (State.RECOVERING, "recorded"): State.RECORDING,
        (State.RECOVERING, "store failed"): State.FAILING,
    }
)
