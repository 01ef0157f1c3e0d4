import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from tessera.errors import StartupError, StoreUnavailable
from tessera.store.database import default_url, open_database, sqlite_path, transaction, without_passwords
from tessera.store.holders import Holders
from tessera.store.migration import upgrade


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://somewhere/base", "mysql"),
        ("nothing at all", "cannot be read"),
        ("sqlite://", "no file"),
        ("sqlite:///:memory:", "no file"),
    ],
)
def test_a_url_of_something_else_is_refused(url: str, said: str) -> None:
    with pytest.raises(StartupError, match=said):
        open_database(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tessera:hun@ter2:s3cret@db.example/tessera",
        "postgresql://[::1/db",
        "postgresql://db.example/tessera?port=abc",
        "sqlite://user@host/x.db",
        "sqlite:///{folder}/x.db?timeout=abc",
        "sqlite:///{folder}/x\0.db",
    ],
)
def test_nothing_is_quoted_of_a_url_that_cannot_be_read(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StartupError, match="cannot be read") as caught:
        open_database(url.format(folder=tmp_path))
    assert caught.value.__suppress_context__
    assert "s3cret" not in caught.value.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "a%00b"])
def test_a_host_that_cannot_be_one_is_not_reached(host: str) -> None:
    store = open_database(f"postgresql://{host}/tessera")
    with pytest.raises(StoreUnavailable):
        Holders(store).find(b"d" * 32)


def test_the_default_is_in_the_users_own_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert sqlite_path(default_url()) == tmp_path / "tessera/tessera.db"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tessera:secret@db.example/tessera",
        "postgresql://db.example/tessera?user=tessera&password=secret&sslpassword=secret&sslmode=require",
    ],
)
def test_a_password_is_not_shown(url: str) -> None:
    assert "secret" not in without_passwords(url)
    assert "tessera" in without_passwords(url)
    assert sqlite_path(url) is None


def test_an_open_store_does_not_show_it() -> None:
    assert "secret" not in repr(open_database("postgresql://tessera:secret@db.example/tessera"))


def test_a_reason_quotes_no_password() -> None:
    url = "postgresql://tessera:refused@127.0.0.1:1/tessera?sslpassword=connection"
    with pytest.raises(StoreUnavailable) as caught:
        Holders(open_database(url)).find(b"d" * 32)
    assert caught.value.reason is not None
    assert "*** failed" in caught.value.reason
    assert "refused" not in caught.value.reason
    assert "connection" not in caught.value.reason


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    store = open_database(f"sqlite:///{tmp_path / 'deep/er/tessera.db'}")
    upgrade(store)
    store.dispose()
    assert stat.S_IMODE((tmp_path / "deep/er/tessera.db").stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="file"):
        open_database(f"sqlite:///{tmp_path / 'file/tessera.db'}")


def test_what_is_committed_is_on_the_disk_and_readers_do_not_wait(tmp_path: Path) -> None:
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    with transaction(store) as connection:
        said = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous")
        }
    assert said == {"journal_mode": "wal", "synchronous": 2}
    store.dispose()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "tessera.db").write_bytes(b"no database at all, whatever it is" * 100)
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    with pytest.raises(StoreUnavailable):
        Holders(store).find(b"d" * 32)
    store.dispose()


def test_a_file_that_is_gone_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "tessera.db"
    store = open_database(f"sqlite:///{path}")
    upgrade(store)
    store.dispose()
    path.rename(tmp_path / "away")
    path.mkdir()
    with pytest.raises(StoreUnavailable):
        Holders(store).find(b"d" * 32)
    path.rmdir()
    (tmp_path / "away").rename(path)
    assert Holders(store).find(b"d" * 32) is None
    store.dispose()


def test_a_file_that_is_locked_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "tessera.db"
    store = open_database(f"sqlite:///{path}")
    upgrade(store)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert Holders(store).find(b"d" * 32) is None
        other.execute("ROLLBACK")
    other.close()
    store.dispose()
