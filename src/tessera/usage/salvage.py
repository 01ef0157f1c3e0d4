"""Writes the entries of a journal's file, which may have been damaged.

An entry whose values the store does not take is dropped. If it raised, all entries behind it would wait for
ever, and the store would seem to be away.
"""

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from tessera.core.usage import LedgerEntry
from tessera.observe.logs import log
from tessera.store.failures import VALUE_ERRORS

Write: TypeAlias = Callable[[Sequence[LedgerEntry]], None]

_logger = logging.getLogger(__name__)


def write_valid(write: Write, entries: Sequence[LedgerEntry]) -> None:
    """Writes the entries, and logs how many were dropped. Raises `StoreUnavailable`, as `write` does."""
    if n_dropped := _write_valid(write, entries):
        log(_logger, "error", "damaged usage dropped", n=n_dropped)


def _write_valid(write: Write, entries: Sequence[LedgerEntry]) -> int:
    """Returns how many were dropped."""
    try:
        write(entries)
    except VALUE_ERRORS:
        if len(entries) == 1:
            return 1
        half = len(entries) // 2
        return _write_valid(write, entries[:half]) + _write_valid(write, entries[half:])
    return 0
