"""The router with the replicas, requests and queue lengths of Ray Serve. No cluster runs."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

serve = pytest.importorskip("ray.serve")

HASHES = [b"system", b"system and hello"]


@dataclass
class Id:
    unique_id: str

    def __hash__(self) -> int:
        return hash(self.unique_id)


@dataclass
class Replica:
    replica_id: Id


@dataclass
class Metadata:
    internal_request_id: str


@dataclass
class Context:
    should_backoff: bool = False


@dataclass
class Pending:
    args: list[Any]
    metadata: Metadata
    routing_context: Context = field(default_factory=Context)


REPLICAS = [Replica(Id(name)) for name in "abc"]


def made() -> Any:
    from ray.serve._private.common import DeploymentHandleSource, DeploymentID  # pyright: ignore[reportMissingImports]

    from tessera.cluster.routing import PrefixRouter

    router = PrefixRouter(
        DeploymentID("replica", "mine"), DeploymentHandleSource.UNKNOWN, use_replica_queue_len_cache=True
    )
    router.initialize_state()
    return router


def chosen(router: Any, request: Pending | None) -> list[list[str]]:
    ranks = asyncio.run(router.choose_replicas(candidate_replicas=REPLICAS, pending_request=request))
    return [[replica.replica_id.unique_id for replica in rank] for rank in ranks]


def test_the_router_keeps_conversations_and_counts_what_runs() -> None:
    router = made()
    first = Pending([HASHES], Metadata("1"))
    ranks = chosen(router, first)
    assert sorted(ranks) == [["a"], ["b"], ["c"]]
    assert first.routing_context.should_backoff
    home = next(each for each in REPLICAS if each.replica_id.unique_id == ranks[1][0])
    router.on_request_routed(first, home.replica_id, None)
    again = Pending([[*HASHES, b"and more"]], Metadata("2"))
    assert chosen(router, again)[0] == [home.replica_id.unique_id]
    router.on_new_queue_len_info(home.replica_id, 9)
    assert chosen(router, again)[-1] == [home.replica_id.unique_id]
    router.on_new_queue_len_info(home.replica_id, 0)
    for number in range(3, 9):
        router.on_request_routed(Pending([[]], Metadata(str(number))), home.replica_id, None)
    assert chosen(router, again)[-1] == [home.replica_id.unique_id]
    for number in range(1, 9):
        router.on_request_completed(home.replica_id, str(number))
    assert chosen(router, again)[0] == [home.replica_id.unique_id]
    assert chosen(router, None) == [["a", "b", "c"]]
