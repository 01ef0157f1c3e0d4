"""The table of the ledger's states, against two plain facts: what the store and the last entries did."""

from typing import get_args

import pytest

from tessera.usage.state import Event, LedgerState

FACTS = {
    LedgerState.RECORDING: (True, True),
    LedgerState.SPOOLING: (False, True),
    LedgerState.FAILING: (False, False),
    LedgerState.RECOVERING: (True, False),
}
CHANGES: dict[Event, dict[int, bool]] = {
    "store answered": {0: True},
    "store failed": {0: False},
    "recorded": {1: True},
    "lost": {1: False},
}


@pytest.mark.parametrize("state", LedgerState)
@pytest.mark.parametrize("event", get_args(Event))
def test_an_event_changes_what_it_says_and_nothing_else(state: LedgerState, event: Event) -> None:
    facts = list(FACTS[state])
    for fact, is_so in CHANGES[event].items():
        facts[fact] = is_so
    after = state.after(event)
    assert FACTS[after] == tuple(facts)
    assert (after.reaches_store, after.records) == tuple(facts)
