"""A ledger that keeps nothing."""

from tessera.core.entry import Entry
from tessera.metering.ledger import Look
from tessera.store.usage import Question, Sum


class Unrecorded:
    """A `Ledger` that keeps nothing: for programs that build the application without a store."""

    async def open(self, look: Look) -> None:
        """See `Ledger`."""

    async def settle(self, entry: Entry) -> None:
        """See `Ledger`."""

    async def add_up(self, question: Question) -> list[Sum]:
        """See `Ledger`."""
        return []

    async def start(self) -> None:
        """See `Ledger`."""

    async def aclose(self) -> None:
        """See `Ledger`."""
