"""Who must not get at the admin API."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp
from tests.conftest import Served
from tests.openapi_admin import OPERATIONS, operator_routes

from tessera.http.admin.app import OPEN_PATHS, admin_app
from tessera.store.database import Database, open_database
from tessera.store.migration import upgrade

Run = Callable[[ASGIApp], AbstractContextManager[int]]
KEY = "admin-" + "k" * 40


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    upgrade(opened)
    yield opened
    opened.dispose()


def made(store: Database, key: str | None) -> Starlette:
    return admin_app(lambda: b"counts\n", key, operator_routes(store))


def ask(port: int, method: str, path: str, key: str | None) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.request(
        method, f"http://127.0.0.1:{port}{path}", headers=headers, trust_env=False, timeout=60
    )


def test_vLLMs_open_routes_every_admin_route_needs_the_key(store: Database, run_app: Run) -> None:
    app = made(store, KEY)
    paths = {re.sub("{.*?}", "x", route.path) for route in app.routes if isinstance(route, Route)}
    assert paths == OPEN_PATHS | {re.sub("{.*?}", "x", operation.path) for operation in OPERATIONS}
    with run_app(app) as port:
        for path in [*sorted(paths), "/admin", "/x", "/metrics/"]:
            for method in ("GET", "POST", "PATCH", "DELETE", "OPTIONS", "HEAD"):
                reply = ask(port, method, path, None)
                assert (reply.status_code == 401) is (path not in OPEN_PATHS), (method, path)
        assert ask(port, "GET", "/metrics", None).text == "counts\n"
        assert ask(port, "GET", "/healthz", None).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [KEY[:-1], KEY + "k", KEY.upper(), "", "k" * 8, "x" * 300, "'OR'1'='1", "sk-tessera-" + "k" * 40],
    ids=lambda key: key[:12],
)
def test_CVE_2025_59425_any_other_key_is_refused(store: Database, run_app: Run, wrong: str) -> None:
    with run_app(made(store, KEY)) as port:
        reply = ask(port, "GET", "/admin/accounts", wrong)
        assert reply.status_code == 401
        assert reply.json()["error"]["code"] in ("invalid_api_key", "missing_api_key")
        assert KEY not in reply.text
        assert ask(port, "GET", "/admin/accounts", KEY).status_code == 200


def test_CVE_2025_59425_the_admin_key_is_compared_in_constant_time(
    store: Database, run_app: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hmac

    compared: list[Any] = []
    compare = hmac.compare_digest

    def watched(sent: bytes, kept: bytes) -> bool:
        compared.append(kept)
        return compare(sent, kept)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    with run_app(made(store, KEY)) as port:
        assert ask(port, "GET", "/admin/accounts", "a" * 40).status_code == 401
    assert compared == [KEY.encode()]


def test_without_a_key_there_is_no_admin_api(store: Database, run_app: Run) -> None:
    with run_app(made(store, None)) as port:
        for key in (None, "None", KEY):
            reply = ask(port, "GET", "/admin/accounts", key)
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "not_found")
            assert "TESSERA_ADMIN_KEY" in reply.json()["error"]["message"]
        assert ask(port, "GET", "/metrics", None).text == "counts\n"


def test_CVE_2026_48710_a_host_header_opens_nothing(store: Database, run_app: Run) -> None:
    with run_app(made(store, KEY)) as port:
        for host in ("x/metrics?", "x/healthz?", "127.0.0.1/metrics#"):
            url = f"http://127.0.0.1:{port}/admin/accounts"
            assert httpx2.get(url, headers={"Host": host}, trust_env=False, timeout=60).status_code in (
                400,
                401,
            )
        for path in ("/metrics/../admin/accounts", "//admin/accounts", "/metrics%2f..%2fadmin/accounts"):
            assert ask(port, "GET", path, None).status_code == 401


def test_the_public_listener_knows_nothing_of_it(served: Served) -> None:
    assert not [route for route in served.app.routes if isinstance(route, Route) and "admin" in route.path]
    for path in ("/admin", "/admin/accounts", "/admin/keys", "/admin/usage", "/admin/audit"):
        assert ask(served.port, "GET", path, KEY).status_code == 401
        assert ask(served.port, "GET", path, served.key).status_code == 404
