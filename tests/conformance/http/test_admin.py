"""The admin API over HTTP, on both stores: what it does, what it refuses, and what it writes down."""

import importlib
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from click.testing import CliRunner
from starlette.types import ASGIApp

from tessera.access.keys import KeyHasher
from tessera.access.tiers import Tiers
from tessera.cli.main import main
from tessera.core.usage import LedgerEntry, Usage
from tessera.http.admin.app import admin_app
from tessera.http.admin.routes import LIMITS, admin_routes
from tessera.store import usage
from tessera.store.database import Database, open_database, sqlite_path, transaction
from tessera.store.holders import Holders
from tessera.store.migration import upgrade

Run = Callable[[ASGIApp], AbstractContextManager[int]]

ADMIN_KEY = "a" * 16 + "!#%&'*+/" * 2
PEPPER = "p" * 32
SEAL = KeyHasher(PEPPER.encode())


@pytest.fixture
def store(database: str) -> Iterator[Database]:
    opened = open_database(database)
    upgrade(opened)
    yield opened
    opened.dispose()


@pytest.fixture
def admin(store: Database, run_app: Run) -> Iterator[httpx2.Client]:
    app = admin_app(lambda: b"counts\n", ADMIN_KEY, admin_routes(store, Tiers(), SEAL))
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    with run_app(app) as port:
        url = f"http://127.0.0.1:{port}/admin"
        with httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
            yield client


@pytest.fixture
def command(database: str) -> Callable[..., Any]:
    """What a command prints as JSON, on the same store."""

    def run(*arguments: str) -> Any:
        variables = {"TESSERA_DATABASE_URL": database, "TESSERA_PEPPER": PEPPER}
        ran = CliRunner(env=variables).invoke(main, [*arguments, "--json"])
        assert ran.exit_code == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


def made(reply: httpx2.Response) -> Any:
    assert reply.status_code == 201, reply.text
    return reply.json()


def shown(reply: httpx2.Response) -> Any:
    assert reply.status_code == 200, reply.text
    return reply.json()


def refused(reply: httpx2.Response) -> tuple[int, str, str | None]:
    """Checks the envelope of an error; returns its status, code and param."""
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    assert error["message"]
    assert reply.headers["x-request-id"]
    return reply.status_code, error["code"], error["param"]


def test_the_life_of_an_account_is_what_the_commands_show(
    admin: httpx2.Client, command: Callable[..., Any]
) -> None:
    account = made(admin.post("/accounts", json={"name": "acme", "tier": "lite"}))
    assert account["id"].startswith("acc_")
    assert account == shown(admin.get("/accounts/acme")) == command("accounts", "show", account["id"])
    assert shown(admin.patch("/accounts/acme", json={"tier": "pro"})) == {**account, "tier": "pro"}
    disabled = shown(admin.patch(f"/accounts/{account['id']}", json={"disabled": True}))
    assert disabled["disabled_s"] == pytest.approx(time.time(), abs=600)
    both = shown(admin.patch("/accounts/acme", json={"disabled": False, "tier": "scale"}))
    assert both == {**account, "tier": "scale"}
    assert shown(admin.patch("/accounts/acme", json={})) == both
    made(admin.post("/accounts", json={"name": "other", "tier": "lite"}))
    assert shown(admin.get("/accounts")) == command("accounts", "list")


def test_the_life_of_a_key_is_what_the_commands_show(
    admin: httpx2.Client, command: Callable[..., Any], store: Database
) -> None:
    made(admin.post("/accounts", json={"name": "acme", "tier": "lite"}))
    dates = {"expires_s": 2209075200, "burst_until_s": 2208988800.5}
    terms = {"name": "dev", "models": ["a", "b/c"], "burst_rpm": 90, **dates}
    reply = admin.post("/keys", json={"account": "acme", **terms})
    assert reply.headers["cache-control"] == "no-store"
    key = made(reply)
    secret = key.pop("secret")
    assert re.fullmatch(r"sk-tessera-[A-Za-z0-9]{40}", secret)
    found = Holders(store).find(SEAL.digest(secret))
    assert found is not None
    assert found.key.id == key["id"]
    assert {**key, **terms, "state": "active", "account": "acme", "last4": secret[-4:]} == key
    assert key == shown(admin.get(f"/keys/{key['id']}")) == command("keys", "show", key["id"])
    changed = shown(admin.patch(f"/keys/{key['id']}", json={"name": "ci", "models": None}))
    assert changed == {**key, "name": "ci", "models": None}
    freed = {"expires_s": None, "burst_rpm": None, "burst_until_s": None}
    assert shown(admin.patch(f"/keys/{key['id']}", json=freed)) == {**changed, **freed}
    other = command("keys", "create", "acme", "--name", "b")
    other.pop("secret")
    assert shown(admin.get("/keys", params={"account": "acme"})) == command("keys", "list", "acme")
    assert shown(admin.get("/keys"))[1] == other
    revoked = shown(admin.post(f"/keys/{key['id']}/revoke"))
    assert revoked["state"] == "revoked"
    assert shown(admin.post(f"/keys/{key['id']}/revoke")) == revoked


def test_limits_and_budgets_are_what_the_commands_show(
    admin: httpx2.Client, command: Callable[..., Any], store: Database
) -> None:
    account = made(
        admin.post("/accounts", json={"name": "acme", "tier": "lite", "limits": {"concurrency": 9}})
    )
    changes = {"concurrency": None, "total_tokens_per_day": 1000, "thinking_tokens_per_day": "unlimited"}
    limited = shown(admin.patch("/accounts/acme", json={"limits": changes}))
    assert limited == {**account, "limits": {name: n for name, n in changes.items() if n is not None}}
    assert limited == command("accounts", "show", "acme") == shown(admin.get("/accounts"))[0]
    budgets = {"prompt_tokens_per_month": 10}
    key = made(admin.post("/keys", json={"account": "acme", "name": "dev", "budgets": budgets}))
    used = Usage(15, 0, 500, 0)
    entry = LedgerEntry(
        "chatcmpl-1", account["id"], key["id"], "m", "direct", False, time.time(), used, finish="stop"
    )
    with transaction(store) as writing:
        usage.write(writing, "one", [entry])
    rows = shown(admin.get("/budgets", params={"account": "acme"}))
    assert rows == shown(admin.get("/budgets")) == command("accounts", "budgets", "acme")
    told = [(row["budget"], row["key_id"], row["used_tokens"], row["percent"]) for row in rows]
    assert told == [
        ("total_tokens_per_day", None, 515, 51),
        ("prompt_tokens_per_month", key["id"], 15, 150),
    ]
    shown(admin.patch(f"/keys/{key['id']}", json={"budgets": {"prompt_tokens_per_month": None}}))
    shown(admin.patch("/accounts/acme", json={"limits": {"total_tokens_per_day": None}}))
    assert shown(admin.get("/budgets")) == []
    gone = shown(admin.delete("/accounts/acme", params={"usage": "erase"}))
    assert gone["id"] == account["id"]
    assert (
        shown(admin.get("/usage"))["rows"] == shown(admin.get("/accounts")) == shown(admin.get("/keys")) == []
    )


def test_usage_is_what_the_command_shows(
    admin: httpx2.Client, command: Callable[..., Any], store: Database
) -> None:
    account = made(admin.post("/accounts", json={"name": "acme", "tier": "lite"}))
    key = made(admin.post("/keys", json={"account": "acme", "name": "dev"}))
    entry = LedgerEntry(
        "chatcmpl-1", account["id"], key["id"], "m", "direct", False, 1_800_000_000.0, finish="stop"
    )
    with transaction(store) as changes:
        usage.write(changes, "one", [entry])
    groups = {"day": "2027-01-15", "account": "acme", "key": key["id"], "model": "m"}
    report = shown(admin.get("/usage", params={"by": "model,account,day,key"}))
    assert report == command("usage", "--by", "model", "--by", "account,day", "--by", "key")
    assert report["rows"] == [{**groups, **report["totals"]}]
    for by, group in groups.items():
        report = shown(admin.get("/usage", params={"by": by, "account": "acme", "key": key["id"]}))
        assert report == command("usage", "--by", by)
        assert [row[by] for row in report["rows"]] == [group]
        assert report["totals"]["requests"] == 1
    assert shown(admin.get("/usage", params={"account": "operator"}))["rows"] == []
    assert shown(admin.get("/usage", params={"since": "2027-01-16"}))["rows"] == []


def test_a_list_comes_in_pages(admin: httpx2.Client) -> None:
    for account, tier in (("acme", "lite"), ("other", "pro"), ("third", "lite")):
        made(admin.post("/accounts", json={"name": account, "tier": tier}))
        for name in ("a", "b", "c"):
            made(admin.post("/keys", json={"account": account, "name": f"{name}-{account}"}))
    for path, asked, field in (
        ("/keys", {"sort": "-name"}, "name"),
        ("/keys", {"sort": "account", "q": "b-"}, "account"),
        ("/keys", {"account": "acme", "sort": "expires_s"}, "account"),
        ("/accounts", {"sort": "-tier"}, "tier"),
        ("/accounts", {}, "name"),
    ):
        whole = shown(admin.get(path, params=asked))
        in_pages: list[Any] = []
        link = f"/admin{path}?limit=2&{urlencode(asked)}"
        while link:
            reply = admin.get(str(admin.base_url.join(link)))
            in_pages += shown(reply)
            assert reply.headers["x-total-count"] == str(len(whole))
            found = re.fullmatch('<([^>]+)>; rel="next"', reply.headers.get("link", ""))
            link = found and found[1]
        assert in_pages == whole
        values = [row[field] for row in whole]
        assert values == sorted(values, reverse=asked.get("sort", "").startswith("-"))


def test_the_tiers_are_those_of_the_configuration(admin: httpx2.Client) -> None:
    tiers = shown(admin.get("/tiers"))
    assert [tier["name"] for tier in tiers] == list(Tiers().names())
    assert tiers[0]["sustained_rpm"] == Tiers()["lite"].sustained_rpm


def test_usage_is_a_file_too(admin: httpx2.Client, store: Database) -> None:
    entries = [
        LedgerEntry(f"c-{n}", f"acc_{n}", "key", "m", "direct", False, 1.8e9, Usage(n, 0, n, 0), "stop")
        for n in range(3)
    ]
    with transaction(store) as changes:
        usage.write(changes, "one", entries)
    asked = {"by": "account", "format": "csv"}
    reply = admin.get("/usage", params=asked)
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert reply.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    assert reply.text.splitlines() == [
        "account,requests,failed,prompt_tokens,cached_tokens,completion_tokens,reasoning_tokens",
        *(f"acc_{n},1,0,{n},0,{n},0" for n in range(3)),
    ]
    reply = admin.get("/usage", params={"by": "model,account", "format": "csv", "top": 1})
    assert reply.text.splitlines()[1:] == ["m,acc_2,1,0,2,0,2,0"]
    parquet = importlib.import_module("pyarrow.parquet")
    both = {"by": "account,model"}
    reply = admin.get("/usage", params={**both, "format": "parquet"})
    assert (
        parquet.read_table(io.BytesIO(reply.content)).to_pylist()
        == shown(admin.get("/usage", params=both))["rows"]
    )
    reply = admin.get("/usage", params={"by": "account", "format": "parquet"})
    whole = shown(admin.get("/usage", params={"by": "account"}))
    assert parquet.read_table(io.BytesIO(reply.content)).to_pylist() == whole["rows"]
    top = shown(admin.get("/usage", params={"by": "account", "top": "2"}))
    assert [row["account"] for row in top["rows"]] == ["acc_2", "acc_1"]
    assert top["totals"] == whole["totals"]


def test_the_audit_says_who_did_what_and_nothing_secret(
    admin: httpx2.Client, command: Callable[..., Any], database: str
) -> None:
    account = made(admin.post("/accounts", json={"name": "acme", "tier": "lite"}))
    key = made(admin.post("/keys", json={"account": "acme", "name": "dev"}))
    begun_s = time.time()
    command("accounts", "create", "other", "--tier", "lite")
    admin.patch("/accounts/acme", json={"tier": "pro", "disabled": True})
    admin.patch(f"/keys/{key['id']}", json={"models": ["m"]})
    admin.post(f"/keys/{key['id']}/revoke")
    refused(admin.post("/accounts", json={"name": "acme", "tier": "lite"}))
    trail = shown(admin.get("/audit"))
    assert trail == command("audit")
    assert [change["id"] for change in trail] == sorted((change["id"] for change in trail), reverse=True)
    told = [(change["action"], change["subject"]) for change in reversed(trail)]
    of_acme = [
        ("account.create", account["id"]),
        ("key.create", key["id"]),
        ("account.set-tier", account["id"]),
        ("account.disable", account["id"]),
        ("key.update", key["id"]),
        ("key.revoke", key["id"]),
    ]
    assert [change for change in told if change in of_acme] == of_acme
    assert {change["actor"] for change in trail if (change["action"], change["subject"]) in of_acme} == {
        "admin:127.0.0.1"
    }
    assert len(trail) == 7
    assert len([change for change in trail if change["actor"].startswith("cli:")]) == 1
    for arguments, n in (({"account": "acme"}, 6), ({"key": key["id"]}, 3), ({"limit": "2"}, 2)):
        found = shown(admin.get("/audit", params=arguments))
        options = [part for name, value in arguments.items() for part in (f"--{name}", value)]
        assert found == command("audit", *options)
        assert len(found) == n
    assert shown(admin.get("/audit", params={"before": trail[2]["id"]})) == trail[3:]
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(begun_s + 60))
    assert shown(admin.get("/audit", params={"since": since})) == command("audit", "--since", since) == []
    assert len(shown(admin.get("/audit", params={"since": "2026-01-01"}))) == 7
    for secret in (key["secret"][11:], ADMIN_KEY):
        assert secret not in json.dumps(trail)
        for path in files_of(database):
            assert secret.encode() not in path.read_bytes()


def files_of(database: str) -> list[Path]:
    path = sqlite_path(database)
    return [each for each in path.parent.glob(f"{path.name}*") if each.is_file()] if path else []


NEW = {"name": "acme", "tier": "lite"}


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "/accounts", {"name": "x", "tier": "gold"}, (400, "invalid_value", "tier")),
        ("POST", "/accounts", {"name": " x", "tier": "lite"}, (400, "invalid_value", "name")),
        ("POST", "/accounts", {"name": "x\0", "tier": "lite"}, (400, "invalid_value", "name")),
        ("POST", "/accounts", {"name": "x\u202e", "tier": "lite"}, (400, "invalid_value", "name")),
        ("POST", "/accounts", {"name": "operator", "tier": "lite"}, (400, "invalid_value", "name")),
        ("POST", "/accounts", {"name": "taken", "tier": "lite"}, (409, "name_taken", "name")),
        ("PATCH", "/accounts/taken", {"tier": "gold"}, (400, "invalid_value", "tier")),
        ("PATCH", "/accounts/taken", {"name": "x"}, (400, "unknown_parameter", "name")),
        ("PATCH", "/accounts/taken", {"disabled": "yes"}, (400, "invalid_value", "disabled")),
        ("PATCH", "/accounts/nobody", {"tier": "pro"}, (404, "account_not_found", None)),
        ("GET", "/accounts/nobody", None, (404, "account_not_found", None)),
        ("GET", "/accounts/", None, (404, "account_not_found", None)),
        ("GET", "/accounts/%00", None, (404, "account_not_found", None)),
        ("GET", "/accounts/%ff%fe", None, (404, "account_not_found", None)),
        ("GET", "/accounts/'%20OR%201=1", None, (404, "account_not_found", None)),
        ("GET", "/accounts/" + "x" * 20_000, None, (404, "account_not_found", None)),
        ("PUT", "/accounts/taken", None, (405, "method_not_allowed", None)),
        ("DELETE", "/accounts/taken", None, (400, "missing_required_parameter", "usage")),
        ("DELETE", "/accounts/taken?usage=burn", None, (400, "invalid_value", "usage")),
        ("DELETE", "/accounts/nobody?usage=keep", None, (404, "account_not_found", None)),
        ("PATCH", "/accounts/taken", {"limits": {"rpm": 5}}, (400, "invalid_value", "limits")),
        ("PATCH", "/accounts/taken", {"limits": {"concurrency": 0}}, (400, "invalid_value", "limits")),
        ("PATCH", "/accounts/taken", {"limits": {"sustained_rpm": 900}}, (400, "invalid_value", "limits")),
        ("POST", "/accounts", {**NEW, "limits": {"rpm": 5}}, (400, "invalid_value", "limits")),
        (
            "POST",
            "/keys",
            {"account": "taken", "name": "k", "budgets": {"tokens": 5}},
            (400, "invalid_value", "budgets"),
        ),
        (
            "POST",
            "/keys",
            {"account": "taken", "name": "k", "budgets": {"total_tokens_per_day": -1}},
            (400, "invalid_value", "budgets"),
        ),
        ("GET", "/budgets?account=nobody", None, (404, "account_not_found", None)),
        ("GET", "/usage?by=day,hour", None, (400, "invalid_value", "by")),
        ("GET", "/accounts?sort=id", None, (400, "invalid_value", "sort")),
        ("GET", "/keys?sort=digest", None, (400, "invalid_value", "sort")),
        ("GET", "/keys?sort=--name", None, (400, "invalid_value", "sort")),
        ("GET", "/keys?limit=0", None, (400, "invalid_value", "limit")),
        ("GET", "/keys?limit=1001", None, (400, "invalid_value", "limit")),
        ("GET", "/keys?q=%00", None, (400, "invalid_value", "q")),
        ("GET", "/keys?cursor=x", None, (400, "invalid_value", "cursor")),
        ("GET", "/keys?cursor=WyJuYW1lIiwgIngiLCAieCJd", None, (400, "invalid_value", "cursor")),
        ("GET", "/keys?sort=name&cursor=WyJuYW1lIiwgMSwgIngiXQ==", None, (400, "invalid_value", "cursor")),
        (
            "GET",
            "/keys?cursor=WyJjcmVhdGVkX3MiLCAieCIsICJ4Il0=",
            None,
            (400, "invalid_value", "cursor"),
        ),
        ("GET", "/usage?top=0", None, (400, "invalid_value", "top")),
        ("GET", "/usage?format=xlsx", None, (400, "invalid_value", "format")),
        ("POST", "/keys", {"account": "nobody", "name": "k"}, (404, "account_not_found", None)),
        ("POST", "/keys", {"account": "taken\0", "name": "k"}, (404, "account_not_found", None)),
        ("POST", "/keys", {"account": "taken", "name": ""}, (400, "invalid_value", "name")),
        ("POST", "/keys", {"account": "taken", "name": "k", "models": []}, (400, "invalid_value", "models")),
        (
            "POST",
            "/keys",
            {"account": "taken", "name": "k", "models": [""]},
            (400, "invalid_value", "models"),
        ),
        (
            "POST",
            "/keys",
            {"account": "taken", "name": "k", "models": ["\x1b[2J"]},
            (400, "invalid_value", "models"),
        ),
        (
            "POST",
            "/keys",
            {"account": "taken", "name": "k", "models": ["m"] * 101},
            (400, "invalid_value", "models"),
        ),
        (
            "POST",
            "/keys",
            {"account": "taken", "name": "k", "burst_rpm": 5},
            (400, "invalid_value", "burst_until_s"),
        ),
        (
            "POST",
            "/keys",
            {"account": "taken", "name": "k", "burst_rpm": 10**30, "burst_until_s": 4e9},
            (400, "invalid_value", "burst_rpm"),
        ),
        (
            "POST",
            "/keys",
            {"account": "taken", "name": "k", "expires_s": 1},
            (400, "invalid_value", "expires_s"),
        ),
        ("PATCH", "/keys/key_none", {"name": "k"}, (404, "key_not_found", None)),
        ("GET", "/keys/%00", None, (404, "key_not_found", None)),
        ("POST", "/keys/key_none/revoke", None, (404, "key_not_found", None)),
        ("GET", "/keys/key_none/revoke", None, (405, "method_not_allowed", None)),
        ("GET", "/keys?account=nobody", None, (404, "account_not_found", None)),
        ("GET", "/keys?acount=taken", None, (400, "unknown_parameter", "acount")),
        ("GET", "/usage?by=hour", None, (400, "invalid_value", "by")),
        ("GET", "/usage?since=soon", None, (400, "invalid_value", "since")),
        ("GET", "/usage?key=%00", None, (400, "invalid_value", "key")),
        ("GET", "/usage?account=nobody", None, (404, "account_not_found", None)),
        ("GET", "/audit?limit=-1", None, (400, "invalid_value", "limit")),
        ("GET", "/audit?since=soon", None, (400, "invalid_value", "since")),
        ("GET", "/audit?account=%00", None, (404, "account_not_found", None)),
        ("GET", "/audit?key=nobody", None, (404, "key_not_found", None)),
        ("GET", "/nothing", None, (404, "not_found", None)),
    ],
)
def test_what_cannot_be_done_is_named(
    admin: httpx2.Client, method: str, path: str, body: Any, expected: tuple[int, str, str | None]
) -> None:
    made(admin.post("/accounts", json={"name": "taken", "tier": "lite"}))
    reply = admin.request(method, path, **({} if body is None else {"json": body}))
    assert refused(reply) == expected
    assert reply.headers["x-should-retry"] == "false"
    assert len(shown(admin.get("/audit"))) == 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_bodies_are_small_json_and_whole(admin: httpx2.Client) -> None:
    def send(body: bytes, **headers: str) -> tuple[int, str, str | None]:
        sent = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return refused(admin.post("/accounts", content=body, headers=sent))

    for body in (b"", b"{", b"nul", b"\xff", b'{"name": "a\x00"}', b'{"name": NaN}'):
        assert send(body) == (400, "invalid_json", None)
    for body in (b"[" * 60_000, b'{"name":' * 8000):
        assert send(body)[0] == 400
    assert send(b"x" * (LIMITS.max_body_bytes + 1)) == (413, "request_too_large", None)
    assert send(b"{}", Content_Type="text/plain") == (415, "unsupported_media_type", None)
    assert send(b"{}", Content_Encoding="gzip") == (415, "unsupported_media_type", None)


@pytest.mark.parametrize("name", ["a/b", "a b?c=d#e", "söhne & co", "100%", "../x", "null", "'; --", "数据"])
def test_a_name_may_be_odd(admin: httpx2.Client, name: str) -> None:
    from urllib.parse import quote

    account = made(admin.post("/accounts", json={"name": name, "tier": "lite"}))
    path = f"/accounts/{quote(name, safe='')}"
    assert shown(admin.get(path)) == account
    assert shown(admin.patch(path, json={"tier": "pro"}))["tier"] == "pro"
    key = made(admin.post("/keys", json={"account": name, "name": name, "models": [name]}))
    assert (key["account"], key["name"], key["models"]) == (name, name, [name])
    assert len(shown(admin.get("/keys", params={"account": name}))) == 1
    assert len(shown(admin.get("/audit", params={"account": name}))) == 3


def test_of_many_who_want_one_name_one_gets_it(admin: httpx2.Client) -> None:
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda _: admin.post("/accounts", json=NEW), range(16)))
    codes = sorted(reply.status_code for reply in replies)
    assert codes == [201] + [409] * 15
    assert len(shown(admin.get("/accounts"))) == len(shown(admin.get("/audit"))) == 1


def test_keys_are_made_and_changed_side_by_side(admin: httpx2.Client) -> None:
    made(admin.post("/accounts", json=NEW))

    def one(number: int) -> str:
        key = made(admin.post("/keys", json={"account": "acme", "name": f"k{number}"}))
        assert shown(admin.patch(f"/keys/{key['id']}", json={"models": ["m"]}))["models"] == ["m"]
        return key["secret"]

    with ThreadPoolExecutor(8) as threads:
        secrets = set(threads.map(one, range(16)))
    keys = shown(admin.get("/keys"))
    assert sorted(key["last4"] for key in keys) == sorted(secret[-4:] for secret in secrets)
    assert len(secrets) == 16
    assert len(shown(admin.get("/audit"))) == 33


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_store_that_is_away_is_503_and_comes_back(
    admin: httpx2.Client, store: Database, database: str
) -> None:
    made(admin.post("/accounts", json=NEW))
    path = sqlite_path(database)
    assert path is not None
    store.dispose()
    path.rename(path.with_name("away"))
    path.mkdir()
    for reply in (admin.get("/accounts"), admin.post("/keys", json={"account": "acme", "name": "k"})):
        assert refused(reply) == (503, "store_unavailable", None)
    path.rmdir()
    path.with_name("away").rename(path)
    assert [account["name"] for account in shown(admin.get("/accounts"))] == ["acme"]
