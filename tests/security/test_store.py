"""What went wrong between servers and their stores of keys: outages, and what clients put into queries."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import event
from starlette.types import ASGIApp
from tests.limits import LIMITS

from tessera.access.keys import KeyHasher, Keys, generate_key
from tessera.access.stored_keys import StoredKeys
from tessera.access.tiers import Tiers
from tessera.catalog import Catalog, Model
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer
from tessera.formats.hermes import HERMES
from tessera.http.app import build_app
from tessera.http.service import Service
from tessera.store import accounts, keys
from tessera.store.database import Database, open_database, transaction
from tessera.store.holders import Holders
from tessera.store.keys import Terms
from tessera.store.migration import upgrade

SEAL = KeyHasher(b"s" * 32)
FRESH_S = 0.2


@dataclass
class Outlet:
    """A server on a store with two keys, and the statements that it executes."""

    path: Path
    store: Database
    secrets: tuple[str, str]
    port: int = 0
    statements: list[str] = field(default_factory=list)

    def ask(self, key: str) -> tuple[int, str | None]:
        """Sends a request; returns the status and the error's code."""
        sent = {"Authorization": f"Bearer {key}"}
        reply = httpx2.get(f"http://127.0.0.1:{self.port}/v1/models", headers=sent, timeout=60)
        return reply.status_code, reply.json().get("error", {}).get("code")

    def take_away(self) -> None:
        self.store.dispose()
        self.path.rename(self.path.with_name("away"))
        self.path.mkdir()

    def bring_back(self) -> None:
        self.path.rmdir()
        self.path.with_name("away").rename(self.path)


@pytest.fixture
def outlet(tmp_path: Path, run_app: Callable[[ASGIApp], AbstractContextManager[int]]) -> Iterator[Outlet]:
    path = tmp_path / "tessera.db"
    store = open_database(f"sqlite:///{path}")
    upgrade(store)
    secrets = generate_key(), generate_key()
    with transaction(store) as changes:
        account = accounts.create(changes, "acme", "lite", by="test")
        for secret in secrets:
            digest = SEAL.digest(secret)
            keys.create(changes, account, Terms("dev"), digest=digest, last4=secret[-4:], by="test")
    engine = ScriptedEngine(tokenizer := ScriptedTokenizer())
    model = Model("m", engine, tokenizer, HERMES, HERMES.sampling, created_s=1)
    ring = StoredKeys(Keys(), SEAL, Holders(store), Tiers(), fresh_s=FRESH_S)
    outlet = Outlet(path, store, secrets)
    with run_app(
        build_app(Service(catalog=Catalog([model], {}, "m"), keys=ring, limits=LIMITS))
    ) as outlet.port:
        event.listen(store, "before_cursor_execute", lambda *said: outlet.statements.append(said[2]))
        yield outlet
    store.dispose()


def test_LiteLLM_18708_a_store_that_fails_is_503_and_never_401(outlet: Outlet) -> None:
    used, unused = outlet.secrets
    assert outlet.ask(used) == (200, None)
    outlet.take_away()
    unknown = (503, "store_unavailable")
    for _ in range(5):
        assert outlet.ask(used) == (200, None)
        assert [outlet.ask(key) for key in (unused, generate_key())] == [unknown, unknown]
    outlet.bring_back()
    answers = {outlet.ask(unused)}
    while (200, None) not in answers:
        answers.add(outlet.ask(unused))
    assert answers <= {unknown, (200, None)}
    assert outlet.ask(generate_key()) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    "key",
    [
        "'OR'1'='1",
        "sk-tessera-'OR'1'='1'--" + "a" * 30,
        "sk-tessera-" + "a" * 36 + "'--;",
        "x" * 10_240,
        "sk-tessera-" + "a" * 10_240,
    ],
    ids=lambda key: key[:16],
)
def test_CVE_2026_42208_what_cannot_be_a_key_is_no_query(outlet: Outlet, key: str) -> None:
    assert outlet.ask(key) == (401, "invalid_api_key")
    assert outlet.statements == []
    assert outlet.ask(outlet.secrets[0]) == (200, None)
    assert len(outlet.statements) == 1


def test_CVE_2026_42208_nothing_of_a_key_is_in_a_query(outlet: Outlet) -> None:
    key = generate_key()
    assert outlet.ask(key) == (401, "invalid_api_key")
    (statement,) = outlet.statements
    assert key[11:] not in statement
    assert "digest = :digest" in statement


def test_CVE_2025_59425_digests_of_the_store_are_compared_in_constant_time(
    outlet: Outlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hmac

    compared: list[int] = []
    compare = hmac.compare_digest

    def watched(kept: bytes, sent: bytes) -> bool:
        compared.append(len(kept))
        return compare(kept, sent)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    outlet.ask(outlet.secrets[0])
    assert 32 in compared
    compared.clear()
    outlet.ask(generate_key())
    assert 32 in compared
