"""How accounts of one priority share a step: whose prompts are computed first, and which sequences decode."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import groupby

from tessera.engine.batch.sequence import TokenSequence


class PromptTurns:
    """Counts how much of the steps' budgets each account with waiting prompts has had; the account that has
    had least comes first (start-time fair queueing: Goyal et al. 1996).

    With k accounts, each is served at least once in 2k steps. An account that arrives starts with the count
    of the one that has had least, and before it: a short prompt does not wait behind long ones. One that has
    had more keeps its count when it leaves, so leaving and returning gains nothing.
    """

    def __init__(self) -> None:
        self._served: dict[bytes, float] = {}
        self._waiting: frozenset[bytes] = frozenset()

    def order(self, accounts: Iterable[bytes]) -> list[bytes]:
        """The accounts that have prompts now, in the order in which they are served."""
        present = dict.fromkeys(accounts)
        least = min((self._served[each] for each in present if each in self._waiting), default=0.0)
        # Counted from the least, so that the numbers stay small. Absent accounts that have had no more than
        # the least are forgotten; without prompts, all are.
        ahead = {each: served - least for each, served in self._served.items() if served > least}
        self._served = dict.fromkeys(present, 0.0) | ahead if present else {}
        order = sorted(present, key=lambda each: (self._served[each], each in self._waiting))
        self._waiting = frozenset(present)
        return order

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
