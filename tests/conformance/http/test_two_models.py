"""Two models in one service: each has a queue of its own, and a key sees those that it may use."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import httpx2
import pytest
from prometheus_client import generate_latest
from starlette.types import ASGIApp
from tests.conformance.http.conftest import Gate
from tests.conftest import KEY, OneKey
from tests.limits import LIMITS
from tests.waiting import wait_for

from tessera.access.capacity import Capacity
from tessera.access.tiers import DEFAULTS
from tessera.catalog import Catalog, Model
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, at_once
from tessera.formats.hermes import HERMES
from tessera.http.app import build_app
from tessera.http.service import Service

RunApp = Callable[[ASGIApp], AbstractContextManager[int]]
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
def hold(gate: Callable[[int], Gate]) -> Iterator[Gate]:
    held = gate(0)
    yield held
    held.opened.set()


def service_of(hold: Gate | None = None, allowed: frozenset[str] | None = None) -> Service:
    """A service with two models of one place each: `busy`, whose steps wait for `hold`, and `free`, also
    called `alias`.
    """
    tokenizer = ScriptedTokenizer()
    engines = [
        ScriptedEngine(tokenizer, timing=hold or at_once, model_id="busy"),
        ScriptedEngine(tokenizer, model_id="free"),
    ]
    models = [
        Model(engine.info.model_id, engine, tokenizer, HERMES, HERMES.sampling, created_s=1)
        for engine in engines
    ]
    return Service(
        catalog=Catalog(models, {"alias": "free"}, "busy"),
        keys=OneKey(DEFAULTS["operator"], allowed),
        limits=LIMITS,
        capacities={model.id: Capacity(max_running=1, max_queued=1) for model in models},
    )


def post(port: int, model: str) -> httpx2.Response:
    asked = {"model": model, "max_tokens": 3, "messages": [{"role": "user", "content": "Hi"}]}
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    return httpx2.post(url, json=asked, headers=HEADERS, timeout=60, trust_env=False)


def test_the_full_queue_of_one_model_is_nothing_to_another(run_app: RunApp, hold: Gate) -> None:
    service = service_of(hold)
    busy = service.queues["busy"]
    with run_app(build_app(service)) as port, ThreadPoolExecutor(2) as pool:
        held = [pool.submit(post, port, "busy") for _ in range(2)]
        wait_for(lambda: (busy.n_running, busy.n_waiting) == (1, 1))
        assert post(port, "busy").status_code == 503
        assert [post(port, "free").status_code for _ in range(3)] == [200] * 3
        assert (busy.n_running, busy.n_waiting) == (1, 1)
        assert b'tessera_places_taken{priority="4"} 1.0' in generate_latest(service.metrics.registry)
        hold.opened.set()
        assert [each.result().status_code for each in held] == [200] * 2


@pytest.mark.parametrize(
    ("allowed", "advice"),
    [
        (None, "Send one of: busy, free, alias."),
        (frozenset({"free"}), "Send one of: free, alias."),
        (frozenset({"gone"}), "This key may use none that do."),
    ],
)
def test_an_unknown_model_is_answered_with_those_that_the_key_may_use(
    run_app: RunApp, allowed: frozenset[str] | None, advice: str
) -> None:
    with run_app(build_app(service_of(allowed=allowed))) as port:
        card = httpx2.get(
            f"http://127.0.0.1:{port}/v1/models/none", headers=HEADERS, trust_env=False, timeout=60
        )
        for refused in (post(port, "none"), card):
            assert refused.status_code == 404
            message = refused.json()["error"]["message"]
            assert message == f"The model 'none' does not exist here. {advice}"
