"""The router that Ray Serve runs in each front: it applies `affinity` to the replicas of one model.

Ray Serve imports the class by its name. It takes the hashes from the arguments of the call, asks for an order
of the replicas, and moves on to the next one if a replica rejects the request.
"""

from collections import defaultdict
from collections.abc import Sequence

from tessera.cluster.affinity import SLACK, Affinity
from tessera.cluster.library import Foreign, RequestRouter

CLASS = "tessera.cluster.routing.PrefixRouter"


class PrefixRouter(RequestRouter):
    """All its methods run in one event loop."""

    def initialize_state(self, slack: int = SLACK) -> None:
        self._affinity = Affinity(slack)
        self._running: defaultdict[str, set[str]] = defaultdict(set)

    async def choose_replicas(
        self,
        candidate_replicas: Sequence[Foreign],
        pending_request: Foreign = None,
    ) -> list[list[Foreign]]:
        """Ranks of one replica each, the best first."""
        by_id = {each.replica_id.unique_id: each for each in candidate_replicas}
        if pending_request is None:
            return [list(by_id.values())]
        # Without this, Ray would ask again at once when all replicas reject the request.
        pending_request.routing_context.should_backoff = True
        loads = {id: self._load(id, replica) for id, replica in by_id.items()}
        return [[by_id[id]] for id in self._affinity.choose(_hashes(pending_request), loads)]

    def on_request_routed(self, pending_request: Foreign, replica_id: Foreign, result: Foreign) -> None:
        self._running[replica_id.unique_id].add(pending_request.metadata.internal_request_id)
        self._affinity.remember(_hashes(pending_request), replica_id.unique_id)

    def on_request_completed(self, replica_id: Foreign, internal_request_id: str) -> None:
        """Ray calls this also for requests that the replica has rejected."""
        running = self._running[replica_id.unique_id]
        running.discard(internal_request_id)
        if not running:
            del self._running[replica_id.unique_id]

    def _load(self, id: str, replica: Foreign) -> int:
        """What the replica itself said last, if that is recent, and what this front knows at least."""
        said: int | None = self.replica_queue_len_cache.get(replica.replica_id)
        return max(said or 0, len(self._running.get(id, ())))


def _hashes(pending_request: Foreign) -> Sequence[bytes]:
    """Those that the front gives as the only argument of its call."""
    arguments = pending_request.args
    return arguments[0] if arguments else ()
