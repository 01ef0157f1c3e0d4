"""How accounts of one priority share a step: whose prompts are computed first, and which sequences decode."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import groupby

from tessera.engine.batch.sequence import TokenSequence


class PromptTurns:
    """Counts how much of the steps' budgets each account with waiting prompts has had; the account that has
    had least comes first.

    With k accounts, each is served at least once in 2k steps. An account that arrives, or returns, starts
    with the count of the one that has had least, and behind it: leaving and returning gains nothing.
    """

    def __init__(self) -> None:
        self._served: dict[bytes, float] = {}

    def order(self, accounts: Iterable[bytes]) -> list[bytes]:
        """The accounts that have prompts now, in the order in which they are served. Forgets all others."""
        present = dict.fromkeys(accounts)
        known = {account: served for account, served in self._served.items() if account in present}
        least = min(known.values(), default=0.0)
        # Counted from the least, so that the numbers stay small.
        self._served = {account: served - least for account, served in known.items()}
        self._served |= {account: 0.0 for account in present if account not in known}
        return sorted(self._served, key=self._served.__getitem__)

    def serve(self, account: bytes, share: float) -> None:
        """The account has had this share of a step's budget."""
        self._served[account] += share


def share_out(decoding: Collection[TokenSequence], most: int) -> list[TokenSequence]:
    """Chooses `most` of the sequences that decode: the highest priority first, and within a priority equally
    many of each account, as far as it has them. Of an account, those that have waited longest.

    Every account gets at least one, even if these are more than `most`.
    """
    if len(decoding) <= most:
        return [*decoding]
    chosen: list[TokenSequence] = []
    for _, ranked in groupby(sorted(decoding, key=lambda each: each.rank), key=lambda each: each.rank[0]):
        claims: dict[bytes, list[TokenSequence]] = defaultdict(list)
        for sequence in ranked:
            claims[sequence.salt].append(sequence)
        left = most - len(chosen)
        for n_others, claim in zip(
            reversed(range(len(claims))), sorted(claims.values(), key=len), strict=True
        ):
            share = max(1, left // (n_others + 1))
            taken = sorted(claim, key=lambda each: (-each.n_sat_out, each.rank))[:share]
            left -= len(taken)
            chosen += taken
    return chosen
