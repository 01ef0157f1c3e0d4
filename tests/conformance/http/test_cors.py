"""Web pages of other origins, as browsers ask for them, against a real server."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp
from tests.conftest import Served
from tests.limits import LIMITS

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer
from tessera.formats.hermes import HERMES
from tessera.http.app import build_app
from tessera.http.cors import EXPOSED
from tessera.http.service import Service

KEY = "sk-tessera-" + "c" * 40
PAGE = "https://chat.example.com"
HI: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}

# What pages may read anyway, and what belongs to the connection or is said to the browser alone.
NOT_FOR_PAGES = {
    *("cache-control", "content-length", "content-type", "date", "vary", "transfer-encoding", "server"),
    *("x-accel-buffering", "www-authenticate", "allow", "connection"),
}


@pytest.fixture
def http(run_app: Callable[[ASGIApp], AbstractContextManager[int]]) -> Iterator[httpx2.Client]:
    tokenizer = ScriptedTokenizer()
    model = Model("m", ScriptedEngine(tokenizer), tokenizer, HERMES, HERMES.sampling, created_s=1)
    app = build_app(
        Service(catalog=Catalog([model], {}, "m"), keys=Keys([KEY]), limits=LIMITS, origins=(PAGE,))
    )
    headers = {"Authorization": f"Bearer {KEY}", "Origin": PAGE}
    with (
        run_app(app) as port,
        httpx2.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False, timeout=60
        ) as client,
    ):
        yield client


def test_a_preflight_needs_no_key_and_whatever_is_asked_then_may_be_read(http: httpx2.Client) -> None:
    del http.headers["authorization"]
    wanted = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for path in ("/v1/chat/completions", "/v1/models", "/v1/none"):
        answer = http.request("OPTIONS", path, headers=wanted)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert answer.headers["access-control-allow-headers"] == "authorization"
        assert "x-request-id" in answer.headers


@pytest.mark.parametrize(
    ("path", "sent", "key", "status"),
    [
        ("/v1/chat/completions", HI, KEY, 200),
        ("/v1/chat/completions", {**HI, "stream": True, "zzz": 1}, KEY, 200),
        ("/v1/chat/completions", {}, KEY, 400),
        ("/v1/chat/completions", HI, "wrong-key", 401),
        ("/v1/none", {}, KEY, 404),
        ("/v1/models", {}, KEY, 405),
    ],
    ids=["reply", "stream", "bad request", "wrong key", "no path", "no method"],
)
def test_every_answer_may_be_read_with_its_headers(
    http: httpx2.Client, path: str, sent: Any, key: str, status: int
) -> None:
    answer = http.post(path, json=sent, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["vary"] == "Origin"
    exposed = {name.lower() for name in answer.headers["access-control-expose-headers"].split(", ")}
    assert exposed == {name.lower() for name in EXPOSED}
    sent_names = {name for name in answer.headers if not name.startswith("access-control-")}
    assert sent_names - NOT_FOR_PAGES <= exposed


def test_other_pages_get_no_permission(http: httpx2.Client) -> None:
    http.headers["origin"] = "https://evil.example.com"
    answer = http.post("/v1/chat/completions", json=HI)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    del http.headers["authorization"]
    preflight = http.request("OPTIONS", "/v1/models", headers={"Access-Control-Request-Method": "GET"})
    assert (preflight.status_code, "access-control-allow-origin" in preflight.headers) == (401, False)


def test_by_default_no_page_is_allowed(served: Served) -> None:
    headers = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    with httpx2.Client(base_url=served.url, headers=headers, trust_env=False, timeout=60) as client:
        answer = client.request("OPTIONS", "/v1/models")
    assert answer.status_code == 401
    assert not [name for name in answer.headers if name.startswith("access-control-") or name == "vary"]
