"""Where the store is, what waits beside it, and who asks."""

import asyncio
import logging
import os
import pwd
from pathlib import Path

import pytest

from tessera.server.migrating import prepared
from tessera.server.storage import actor, spool_folder
from tessera.settings import Settings

STORE = "postgresql://tessera:secret@db.example/usage"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://tessera:other@db.example/usage",
        "postgresql://somebody@db.example:5432/usage",
        "postgresql://db.example/usage?user=tessera&password=secret&sslmode=require",
        "postgresql:///usage?host=db.example&application_name=tessera&port=5432",
    ],
)
def test_the_spool_of_a_database_is_the_same_whoever_asks_and_however(url: str) -> None:
    assert spool_folder(Settings(database_url=url)) == spool_folder(Settings(database_url=STORE))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://tessera:secret@db.example/other",
        "postgresql://tessera:secret@other.example/usage",
        "postgresql://tessera:secret@db.example:5433/usage",
        "postgresql://tessera:secret@/usage?host=other.example",
    ],
)
def test_another_database_has_another_spool(url: str) -> None:
    assert spool_folder(Settings(database_url=url)) != spool_folder(Settings(database_url=STORE))


def test_usage_that_waits_for_a_store_of_another_address_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, written in (("old", b"{}\n"), ("idle", b""), ("tessera.db", b"{}\n")):
        (tmp_path / f"{name}.spool").mkdir()
        (tmp_path / f"{name}.spool/srv_1.usage.jsonl").write_bytes(written)

    async def start() -> None:
        async with prepared(Settings(database_url=f"sqlite:///{tmp_path / 'tessera.db'}")):
            pass

    with caplog.at_level(logging.WARNING, "tessera"):
        asyncio.run(start())
    said = [record.__dict__["fields"] for record in caplog.records]
    assert said == [{"folder": str(tmp_path / "old.spool"), "own": str(tmp_path / "tessera.db.spool")}]


@pytest.mark.parametrize("name", ["somebody else", "a" * 300, "\udcff", "a\nb"])
def test_who_runs_a_command_is_not_what_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, name)
    assert actor() == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest.mark.parametrize("name", ["", "a" * 300, "\udcff", "a\nb"])
def test_a_user_without_a_name_that_can_be_kept_is_a_number(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    known = pwd.struct_passwd((name, "x", os.getuid(), 0, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", {os.getuid(): known}.__getitem__)
    assert actor() == f"cli:{os.getuid()}"
    monkeypatch.setattr(pwd, "getpwuid", dict[int, object]().__getitem__)
    assert actor() == f"cli:{os.getuid()}"
