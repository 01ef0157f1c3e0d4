"""Several models in one server: each has its name, its engine, its limits and its counts."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.conformance.engines.tiny_engine import GREETING
from tests.serving import TESSERA, Server, Start, ask, free_port
from tests.waiting import wait_for

CONFIG = """
engine = "tiny"
queue_deadline_s = 60

[models.first]
context_tokens = 1024

[models."org/second"]
aliases = ["two"]

[models.third]
engine = "scripted"
scripted_tokens_per_s = 0
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tessera.toml"
    path.write_text(CONFIG)
    return path


def chat(client: httpx2.Client, **fields: Any) -> httpx2.Response:
    return client.post("/v1/chat/completions", json=ask(max_tokens=200, **fields))


def test_each_model_answers_under_its_names(serve_tiny: Callable[..., Server], config: Path) -> None:
    server = serve_tiny(TESSERA_CONFIG=str(config))
    assert server.announced[:3] == [
        "Serving first.",
        "Serving org/second, which also answers to two.",
        "Serving third.",
    ]
    with server.client() as client:
        cards = {card["id"]: card for card in client.get("/v1/models").json()["data"]}
        assert [*cards] == ["first", "org/second", "third", "two"]
        assert cards["two"]["root"] == "org/second"
        assert [cards[name]["context_length"] for name in ("first", "two", "third")] == [1024, 4096, 32_768]
        assert "structured_output" in cards["third"]["features"]
        assert cards["first"]["features"] == []
        greeting = f"{GREETING} {sys.prefix}"
        for name, id in (("first", "first"), ("two", "org/second"), ("org/second", "org/second")):
            reply = chat(client, model=name).json()
            assert (reply["model"], reply["choices"][0]["message"]["content"]) == (id, greeting)
        assert chat(client, model="third").json()["choices"][0]["message"]["content"] != greeting
        assert chat(client).json()["model"] == "first", "the first one answers requests that name none"
        assert chat(client, model="fourth").status_code == 404
        text = "word " * 300
        assert chat(client, model="first", messages=[{"role": "user", "content": text}]).status_code == 413
        assert chat(client, model="two", messages=[{"role": "user", "content": text}]).status_code == 200
    code, log = server.stop()
    assert code == 0, log


def test_the_death_of_one_engine_leaves_the_others_alone(
    serve_tiny: Callable[..., Server], config: Path
) -> None:
    admin = free_port()
    server = serve_tiny(TESSERA_CONFIG=str(config), TESSERA_ADMIN_PORT=str(admin))

    def counts(name: str) -> dict[str, float]:
        text = httpx2.get(f"http://127.0.0.1:{admin}/metrics", trust_env=False, timeout=60).text
        samples = [each for family in text_string_to_metric_families(text) for each in family.samples]
        return {each.labels["model"]: each.value for each in samples if each.name == name}

    with server.client() as client:
        died = chat(client, model="two", messages=[{"role": "user", "content": "die"}])
        assert (died.status_code, died.json()["error"]["code"]) == (503, "engine_unavailable")
        for name in ("first", "third"):
            assert chat(client, model=name).status_code == 200
        assert client.get("/readyz").status_code == 200
        wait_for(lambda: chat(client, model="two").status_code == 200)
        wait_for(lambda: counts("tessera_engine_restarts_total") == {"first": 0, "org/second": 2})
        assert counts("tessera_generation_tokens_total").keys() == {"first", "org/second", "third"}
    code, log = server.stop()
    assert code == 0, log


def test_a_key_may_be_for_some_of_the_models(
    serve_tiny: Callable[..., Server], config: Path, environment: dict[str, str]
) -> None:
    server = serve_tiny(TESSERA_CONFIG=str(config))

    def tessera(*arguments: str) -> Any:
        done = subprocess.run(
            [TESSERA, *arguments, "--json"], env=environment, capture_output=True, check=True
        )
        return json.loads(done.stdout)

    tessera("accounts", "create", "someone", "--tier", "pro")
    key = tessera("keys", "create", "someone", "--name", "some", "--models", "two")["secret"]
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=server.url, headers=headers, timeout=60) as client:
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["org/second", "two"]
        assert chat(client, model="two").status_code == 200
        assert chat(client, model="third").status_code == 403


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[models.one]\nport = 1\n[models.two]\n", "port of models.one is not a setting"),
        ('[models.one]\nthreads = "many"\n', "threads of models.one is 'many': a whole number"),
        ('model_name = "x"\n[models.one]\n', "model_name and models cannot both be set"),
        ('[models.one]\naliases = ["two"]\n[models.two]\n', "Two models have the name two"),
        (
            '[models.one]\nengine = "none"\n',
            "engine is 'none': one of auto, openvino, llamacpp, vllm, scripted, tiny is needed",
        ),
    ],
)
def test_what_cannot_be_stops_the_start(start_tiny: Start, tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "tessera.toml"
    config.write_text('engine = "scripted"\n' + text)
    process = start_tiny(TESSERA_CONFIG=str(config))
    _, log = process.communicate(timeout=300)
    assert process.returncode != 0
    assert message in log
