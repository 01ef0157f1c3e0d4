"""What clients meet when a replica or a front is killed, and what is then on record."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from tests.load import load, recorded, require_recorded
from tests.ray.conftest import FRONT, KEY, MINE, N_REPLICAS, Cluster
from tests.waiting import wait_for

from tessera.core.record import CLIENT_GONE
from tessera.core.usage import INTERRUPTED, OPEN

N_TOKENS = 600
ROUNDS = int(os.environ.get("RAY_ROUNDS", "2"))
ENDS = frozenset({"length", "stop", INTERRUPTED, CLIENT_GONE})


class Stream:
    """A reply that is being streamed."""

    def __init__(self) -> None:
        self.id = ""
        self.text = ""
        self.usage: Any = None
        self.error: str | None = None

    def read(self, cluster: Cluster, **fields: Any) -> "Stream":
        asked: dict[str, Any] = {
            "model": "mine",
            "max_tokens": N_TOKENS,
            "stream_options": {"include_usage": True},
        }
        try:
            for chunk in cluster.client().chat.completions.create(stream=True, **asked, **fields):
                self.id = chunk.id
                self.usage = chunk.usage
                self.text += "".join(choice.delta.content or "" for choice in chunk.choices)
        except openai.APIError as error:
            self.error = error.code
        return self


def kill(ids: list[int]) -> None:
    for id in ids:
        os.kill(id, signal.SIGKILL)


def test_a_seeded_stream_goes_on_elsewhere_and_others_end_with_an_error(cluster: Cluster) -> None:
    hello: list[Any] = [{"role": "user", "content": "Hello"}]
    whole = Stream().read(cluster, messages=hello, seed=1)
    rows = cluster.told("deploy", "replicas", "--address", cluster.address)
    process_of = {row["replica"]: row["process"] for row in rows}
    seeded, others = [Stream() for _ in range(8)], [Stream() for _ in range(8)]

    def read(number: int) -> None:
        # Conversations of their own, or one replica would get them all.
        messages: list[Any] = [{"role": "user", "content": f"Hello {number}"}]
        fields: dict[str, Any] = {"seed": 1} if number < 8 else {}
        [*seeded, *others][number].read(cluster, messages=messages, **fields)

    with ThreadPoolExecutor(16) as pool:
        reading = [pool.submit(read, number) for number in range(16)]
        wait_for(lambda: all(each.text for each in (*seeded, *others)))
        replica_of = cluster.running_on()
        doomed = {replica_of[each.id] for each in seeded[:2]}
        kill([process_of[replica] for replica in doomed])
        for each in reading:
            each.result()
    assert [(each.error, each.text) for each in seeded] == [(None, whole.text)] * 8
    assert {each.usage.completion_tokens for each in seeded} == {N_TOKENS}
    lost = [each for each in others if each.error]
    assert {each.error for each in lost} == {"replica_lost"}
    assert {each.text for each in others if not each.error} <= {whole.text}
    assert {each.id for each in lost} == {each.id for each in others if replica_of[each.id] in doomed}
    on_record = recorded(cluster.environment["TESSERA_DATABASE_URL"])
    assert {on_record[each.id][1:] for each in seeded} == {(N_TOKENS, "length")}
    cluster.wait_for_replicas(N_REPLICAS)


def test_every_whole_reply_is_on_record_once_after_kills(cluster: Cluster) -> None:
    database = cluster.environment["TESSERA_DATABASE_URL"]
    of_other_tests = {end for *_, end in recorded(database).values()}
    told: dict[str, tuple[int, int]] = {}
    victims: list[Callable[[], list[int]]] = [
        lambda: cluster.replicas(MINE)[:1],
        lambda: cluster.replicas(FRONT)[:1],
    ]
    for number in range(ROUNDS):
        with load(cluster.url, key=KEY, n=6, seed=6 * number) as clients:
            wait_for(lambda clients=clients: clients.n_told > 20)
            kill(victims[number % 2]())
            before = clients.n_told
            if number % 2:
                cluster.wait_for_replicas(1, FRONT)
            else:
                wait_for(lambda clients=clients, before=before: clients.n_told > before + 30)
        if number % 2 == 0:
            # Streams without a seed break; nothing else fails.
            assert set(clients.seen) <= {(200, None), (200, "broken stream")}
            assert sum(client.cut for client in clients) == 0
        told |= clients.told
        cluster.wait_for_replicas(N_REPLICAS)
    # A row without an end is closed as interrupted a minute after its replica has died.
    wait_for(lambda: OPEN not in {end for *_, end in recorded(database).values()}, 300)
    require_recorded(told, database, ends=ENDS | of_other_tests)
    assert told.keys() <= recorded(database).keys()
