"""Chooses the replica of a conversation: the one that has computed its beginning, unless that one is busy.

A conversation is known by the hashes of its beginnings, one for each message, each of which covers all
messages before it. They are salted with the caller's key, as the prefix cache is with the account: nobody
can steer requests to another account's replica, or learn where it is.

Each front remembers for itself where it has sent beginnings. Fronts that know nothing of a conversation
agree all the same, while replicas are equally busy: its first hash ranks the replicas.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence

MOST_BEGINNINGS = 200_000
"""Beginnings that a front remembers for a model: some 40 MB."""

MOST_REPLICAS = 16
"""Replicas that are remembered for a beginning: instructions that all conversations share are soon on all."""

MOST_MESSAGES = 64
"""Beginnings of one conversation: of a longer one, those of its last messages."""

SLACK = 4
"""A replica may have so many more requests than the least busy one before it loses a conversation."""

_HASH_BYTES = 16


def beginnings(salt: bytes, before: bytes, messages: Sequence[bytes]) -> list[bytes]:
    """The hashes of a conversation's beginnings, the shortest first. `before` is what the prompt begins with
    whatever the messages are, such as the tools.
    """
    running = hashlib.blake2b(before, digest_size=_HASH_BYTES, key=salt[: hashlib.blake2b.MAX_KEY_SIZE])
    hashes: list[bytes] = []
    for message in messages:
        # Lengths keep two messages apart from one that holds the text of both.
        running.update(b"%d:" % len(message))
        running.update(message)
        hashes.append(running.digest())
    return hashes[-MOST_MESSAGES:]


class Affinity:
    """Where beginnings of conversations have been computed."""

    def __init__(self, slack: int = SLACK, most: int = MOST_BEGINNINGS) -> None:
        self._slack = slack
        self._most = most
        self._replicas_of: OrderedDict[bytes, tuple[str, ...]] = OrderedDict()

    def choose(self, hashes: Sequence[bytes], loads: Mapping[str, int]) -> list[str]:
        """The replicas, the best first. `loads` are the running requests of each.

        A conversation that goes on has at least an answer and a question after its known beginning. A single
        message after it begins another conversation with the same instructions: it goes to one of the least
        busy replicas, so that instructions which all conversations share bind none of them.
        """
        least = min(loads.values(), default=0)
        ranked = sorted(loads, key=lambda replica: (loads[replica], _rank(hashes, replica)))
        for n_after, each in enumerate(reversed(hashes)):
            if known := self._known(each, loads):
                best = min(known, key=ranked.index)
                if loads[best] <= least + (0 if n_after == 1 else self._slack):
                    ranked.remove(best)
                    ranked.insert(0, best)
                break
        return ranked

    def remember(self, hashes: Sequence[bytes], replica: str) -> None:
        """The replica computes this conversation. What was used least recently is forgotten."""
        for each in hashes:
            others = (other for other in self._replicas_of.get(each, ()) if other != replica)
            self._replicas_of[each] = (replica, *others)[:MOST_REPLICAS]
            self._replicas_of.move_to_end(each)
        while len(self._replicas_of) > self._most:
            self._replicas_of.popitem(last=False)

    def _known(self, beginning: bytes, loads: Mapping[str, int]) -> list[str]:
        """The replicas that have computed this beginning, and are still there."""
        return [replica for replica in self._replicas_of.get(beginning, ()) if replica in loads]


def _rank(hashes: Sequence[bytes], replica: str) -> bytes:
    """Orders replicas differently for each conversation, in the same way in every front."""
    seed = hashes[0] if hashes else b""
    return hashlib.blake2b(replica.encode(), digest_size=8, key=seed).digest()
