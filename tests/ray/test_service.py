"""What a cluster of several replicas does as one service: names, limits, conversations, updates, sleep."""

import itertools
import math
import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select
from tests.load import load
from tests.ray.conftest import ADMIN_KEY, KEY, N_REPLICAS, PEPPER, Cluster, descendants, models_of
from tests.serving import ask, command
from tests.waiting import wait_for

from tessera.store.database import open_database, transaction
from tessera.store.tables import USAGE

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
N_REQUESTS = int(os.environ.get("RAY_REQUESTS", "2000"))
N_CONVERSATIONS = 60
_names = itertools.count()


def test_all_models_are_at_one_address(cluster: Cluster) -> None:
    listed = {model.id: model for model in cluster.client().models.list()}
    assert list(listed) == ["mine", "asleep", "embedded"]
    headers = {"Authorization": f"Bearer {KEY}"}
    card = httpx2.get(f"{cluster.url}/v1/models/mine", headers=headers, timeout=60).json()
    assert card["root"] == "mine"
    with pytest.raises(openai.NotFoundError) as unknown:
        cluster.client().chat.completions.create(model="other", messages=HELLO)
    assert unknown.value.code == "model_not_found"
    assert "mine, asleep, embedded" in unknown.value.message
    assert httpx2.get(f"{cluster.url}/v1/models", timeout=60).status_code == 401
    assert httpx2.get(f"{cluster.url}/healthz", timeout=60).json() == {"status": "ok"}
    assert "<html" in httpx2.get(f"{cluster.url}/docs/en/", timeout=60, follow_redirects=True).text


def test_a_model_without_replicas_answers_a_request_that_waits_and_goes_to_sleep_again(
    cluster: Cluster,
) -> None:
    for _ in range(2):
        cluster.wait_for_replicas(0, "tessera.asleep")
        reply = cluster.client().chat.completions.create(model="asleep", messages=HELLO, max_tokens=3)
        assert reply.model == "asleep"


def test_second_turns_go_where_the_first_was_computed_and_replicas_share_the_load(cluster: Cluster) -> None:
    client = cluster.client()

    def converse(number: int) -> list[str]:
        messages: list[Any] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": f"{number}"},
        ]
        ids: list[str] = []
        for _ in range(2):
            reply = client.chat.completions.create(model="mine", messages=messages, max_tokens=20)
            ids.append(reply.id)
            messages += [reply.choices[0].message, {"role": "user", "content": "Why?"}]
        return ids

    with ThreadPoolExecutor(2 * N_REPLICAS) as pool:
        turns = list(pool.map(converse, range(N_CONVERSATIONS)))
    replica_of = instances(cluster, {id for ids in turns for id in ids})
    n_hits = sum(replica_of[first] == replica_of[second] for first, second in turns)
    assert n_hits >= 0.9 * N_CONVERSATIONS
    busiest = max(Counter(replica_of[id] for ids in turns for id in ids).values())
    assert busiest <= 1.3 * 2 * N_CONVERSATIONS / N_REPLICAS


def instances(cluster: Cluster, ids: set[str]) -> dict[str, str]:
    """Which server made each reply, from the ledger."""
    store = open_database(cluster.environment["TESSERA_DATABASE_URL"])
    with transaction(store) as connection:
        rows = connection.execute(select(USAGE.c.id, USAGE.c.instance).where(USAGE.c.id.in_(ids)))
        found = {row.id: row.instance for row in rows}
    store.dispose()
    return found


def test_all_replicas_are_shown_in_one_place(cluster: Cluster) -> None:
    rows = cluster.told("deploy", "replicas", "--address", cluster.address)
    mine = [row for row in rows if row["application"] == "tessera.mine"]
    assert [row["engines"] for row in mine] == [{"mine": "ready"}] * N_REPLICAS
    assert {row["process"] for row in mine} == set(cluster.replicas())
    text = httpx2.get(f"{cluster.admin_url}/metrics", timeout=60).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    replicas = {each.labels["replica"] for each in families["tessera_http_responses"].samples}
    assert {f"tessera.mine#{row['replica']}" for row in mine} <= replicas
    with load(cluster.url, key=KEY, n=4) as clients:
        wait_for(lambda: clients.n_told > 4)
        headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
        shown = httpx2.get(f"{cluster.admin_url}/admin/requests", headers=headers, timeout=60).json()[
            "requests"
        ]
    assert shown
    assert {row["model"] for row in shown} <= {"mine", None}
    assert "console" in httpx2.get(f"{cluster.admin_url}/", timeout=60).text.lower()


def test_all_replicas_together_give_the_tier_and_no_more(cluster: Cluster) -> None:
    account = f"acme{next(_names)}"
    cluster.told("accounts", "create", account, "--tier", "lite")
    secret = cluster.told("keys", "create", account, "--name", "dev")["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{cluster.url}/v1/chat/completions"

    def statuses(_: int) -> Counter[int]:
        with httpx2.Client(headers=headers, timeout=300) as http:
            return Counter(http.post(url, json=ask(max_tokens=1)).status_code for _ in range(N_REQUESTS // 8))

    begun_s = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        seen = sum(pool.map(statuses, range(8)), Counter[int]())
    n_windows = math.ceil((time.monotonic() - begun_s) / 60)
    assert seen.keys() == {200, 429}
    assert 400 <= seen[200] <= 400 * n_windows
    assert cluster.told("usage", "--account", account)["totals"]["requests"] == seen[200]


def test_an_update_fails_no_request(cluster: Cluster) -> None:
    before = set(cluster.replicas())
    with load(cluster.url, key=KEY, n=2) as clients:
        wait_for(lambda: clients.n_told > 10)
        done = cluster.update(*models_of("newer"))
        assert done.returncode == 0, done.stderr
        told = clients.n_told
        wait_for(lambda: clients.n_told > told + 10)
    assert set(clients.seen) == {(200, None)}
    assert [client.cut for client in clients] == [0, 0]
    assert before.isdisjoint(cluster.replicas())
    reply = cluster.client().chat.completions.create(model="newer", messages=HELLO, max_tokens=1)
    assert reply.model == "mine"


def test_nothing_that_ray_keeps_or_logs_holds_a_secret(cluster: Cluster) -> None:
    lines = [command(id) for id in descendants(cluster.process.pid)]
    assert [line for line in lines if KEY in line or PEPPER in line] == []
    (session,) = {
        word.partition("=")[2]
        for line in lines
        for word in line.split()
        if word.startswith("--session-dir=") or word.startswith("--session_dir=")
    }
    files = [path for path in (Path(session) / "logs").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in (*files, cluster.log):
        text = path.read_bytes()
        assert KEY.encode() not in text, path
        assert PEPPER.encode() not in text, path
