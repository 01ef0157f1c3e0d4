"""Whose prompts are computed first, and who decodes if not all can: accounts of one priority share a step."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import groupby

from tessera.engine.batch.sequence import TokenSequence


class PromptTurns:
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


def share_out(decoding: Collection[TokenSequence], most: int) -> list[TokenSequence]:
    """Of the sequences that decode, `most` that do so in this step: the highest priority first, and of one
    priority as many of each account, as far as it has them. Of an account, those that have waited longest.

    Each account has one at least.
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
