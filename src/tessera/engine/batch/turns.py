"""Whose prompts are computed first: accounts of one priority take turns at a step's budget."""

from collections.abc import Iterable


class Turns:
    """Counts what each account with waiting prompts was served, in steps, and serves the least served first.

    With k accounts, each is served at least once in 2k steps. An account that comes, or comes back, starts
    behind the others with as much as the least served of them: leaving and coming back gains nothing.
    """

    def __init__(self) -> None:
        self._served: dict[bytes, float] = {}

    def order(self, accounts: Iterable[bytes]) -> list[bytes]:
        """All accounts with prompts now, the next to be served first. Others are forgotten."""
        present = dict.fromkeys(accounts)
        known = {account: served for account, served in self._served.items() if account in present}
        least = min(known.values(), default=0.0)
        # Counted from the least, for numbers that stay small.
        self._served = {account: served - least for account, served in known.items()}
        self._served |= {account: 0.0 for account in present if account not in known}
        return sorted(self._served, key=self._served.__getitem__)

    def serve(self, account: bytes, share: float) -> None:
        """The account has had this share of a step's budget."""
        self._served[account] += share
