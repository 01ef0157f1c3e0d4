"""What clients meet on a cluster of several replicas: the API, the limits, and a replica that dies."""

import itertools
import math
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
from tests.load import load, recorded, require_recorded
from tests.ray.conftest import KEY, N_REPLICAS, PEPPER, Cluster, descendants
from tests.serving import ask, command
from tests.waiting import wait_for

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
WEATHER: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Lima", "Quito"]}},
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
]
_names = itertools.count()


def test_the_official_client_gets_whole_and_streamed_replies_with_usage(cluster: Cluster) -> None:
    client = cluster.client()
    assert next(model.id for model in client.models.list()) == "mine"
    whole = client.chat.completions.create(model="mine", messages=HELLO, max_completion_tokens=7)
    stream = client.chat.completions.create(
        model="mine",
        messages=HELLO,
        max_completion_tokens=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 7


def test_the_official_client_gets_a_tool_call(cluster: Cluster) -> None:
    reply = cluster.client().chat.completions.create(
        model="mine", messages=HELLO, tools=WEATHER, tool_choice="required"
    )
    (choice,) = reply.choices
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) in {
        ("weather", '{"city":"Lima"}'),
        ("weather", '{"city": "Lima"}'),
        ("weather", '{"city":"Quito"}'),
        ("weather", '{"city": "Quito"}'),
    }


def test_an_answer_has_one_request_id_and_errors_are_ours(cluster: Cluster) -> None:
    named = {"X-Request-Id": "mine-1", "Authorization": f"Bearer {KEY}"}
    reply = httpx2.get(f"{cluster.url}/v1/models", headers=named, timeout=60)
    assert reply.headers.get_list("x-request-id") == ["mine-1"]
    refused = httpx2.get(f"{cluster.url}/v1/models", timeout=60)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "missing_api_key"


def test_all_replicas_together_give_the_tier_and_no_more(cluster: Cluster) -> None:
    account = f"acme{next(_names)}"
    cluster.told("accounts", "create", account, "--tier", "lite")
    secret = cluster.told("keys", "create", account, "--name", "dev")["secret"]
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{cluster.url}/v1/chat/completions"

    def status(_: int) -> int:
        with httpx2.Client(headers=headers, timeout=300) as http:
            return http.post(url, json=ask(max_tokens=1)).status_code

    begun_s = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        seen = Counter(pool.map(status, range(80)))
    n_windows = math.ceil((time.monotonic() - begun_s) / 60)
    assert seen.keys() == {200, 429}
    assert 40 <= seen[200] <= 40 * n_windows
    assert cluster.told("usage", "--account", account)["totals"]["requests"] == seen[200]


def test_a_replica_that_is_killed_costs_no_more_than_its_running_replies(cluster: Cluster) -> None:
    n_clients = 6
    with load(cluster.url, key=KEY, n=n_clients) as clients:
        wait_for(lambda: clients.n_told > 20)
        os.kill(cluster.replicas()[0], signal.SIGKILL)
        told = clients.n_told
        wait_for(lambda: clients.n_told > told + 40)
    failed = {kind: n for kind, n in clients.seen.items() if kind != (200, None)}
    assert sum(failed.values()) + sum(client.cut for client in clients) <= n_clients, failed
    cluster.wait_for_replicas(N_REPLICAS)
    database = cluster.environment["TESSERA_DATABASE_URL"]
    # A row without an end is closed as interrupted a minute after its replica has died.
    wait_for(lambda: None not in {end for *_, end in recorded(database).values()}, 300)
    require_recorded(
        clients.told,
        database,
        ends=frozenset({"length", "stop", "tool_calls", "interrupted", "cancelled", "error"}),
    )
    assert clients.told.keys() <= recorded(database).keys()


def test_an_update_fails_no_request(cluster: Cluster) -> None:
    before = set(cluster.replicas())
    with load(cluster.url, key=KEY, n=2) as clients:
        wait_for(lambda: clients.n_told > 10)
        done = cluster.update("--aliases", "newer")
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
