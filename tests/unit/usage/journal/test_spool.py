import os
from dataclasses import replace
from pathlib import Path

import pytest

from tessera.core.usage import LedgerEntry, Usage
from tessera.errors import StoreUnavailable
from tessera.usage.journal.files import abandoned
from tessera.usage.journal.spool import Spool

ENTRY = LedgerEntry(
    "chatcmpl-1", "acc", "key", "m", "direct", False, 7.0, Usage(1, 0, 2, 0), "stop", 0.1, None, 2.0
)
OTHER = replace(ENTRY, id="chatcmpl-2")


def opened(folder: Path, instance: str) -> Spool:
    spool = Spool(folder, instance)
    spool.open()
    return spool


def left(folder: Path) -> list[tuple[str, list[LedgerEntry]]]:
    return [(name, [one for piece in pieces for one in piece]) for name, pieces in abandoned(folder)]


def test_what_is_kept_is_read_until_it_is_forgotten(tmp_path: Path) -> None:
    spool = opened(tmp_path / "new", "one")
    assert spool.read() == ([], 0)
    spool.append([ENTRY])
    entries, size = spool.read()
    assert entries == [ENTRY]
    spool.append([OTHER, OTHER])
    spool.forget(1, size)
    entries, size = spool.read()
    assert (entries, spool.n_entries) == ([OTHER, OTHER], 2)
    spool.forget(2, size)
    assert (spool.read(), spool.n_entries) == (([], 0), 0)
    spool.close()
    assert list((tmp_path / "new").iterdir()) == []


def test_much_is_read_piece_by_piece(tmp_path: Path) -> None:
    spool = opened(tmp_path, "one")
    for _ in range(100):
        spool.append([ENTRY, OTHER] * 50)
    read: list[LedgerEntry] = []
    while spool.n_entries:
        entries, size = spool.read()
        assert 0 < len(entries) < 3000
        read += entries
        spool.forget(len(entries), size)
    assert read == [ENTRY, OTHER] * 5000
    assert (tmp_path / "one.usage.jsonl").stat().st_size == 0
    spool.close()


def test_what_is_closed_takes_nothing_and_changes_no_other_file(tmp_path: Path) -> None:
    spool = opened(tmp_path, "one")
    spool.append([ENTRY])
    _, size = spool.read()
    spool.close()
    with (tmp_path / "other").open("w+b") as other:  # it may get the same descriptor
        other.write(b"other")
        other.flush()
        with pytest.raises(OSError, match="descriptor"):
            spool.forget(1, size)
        with pytest.raises(StoreUnavailable):
            spool.append([OTHER])
        assert (tmp_path / "other").read_bytes() == b"other"
    assert left(tmp_path) == [("one", [ENTRY])]


def test_much_that_is_abandoned_comes_piece_by_piece(tmp_path: Path) -> None:
    spool = opened(tmp_path, "one")
    for _ in range(100):
        spool.append([ENTRY, OTHER] * 50)
    spool.close()
    for name, pieces in abandoned(tmp_path):
        read = list(pieces)
        assert name == "one"
        assert max(map(len, read)) < 3000
        assert sum(map(len, read)) == 10_000
    assert left(tmp_path) == []


def test_only_what_nobody_holds_is_abandoned(tmp_path: Path) -> None:
    living, ended = opened(tmp_path, "living"), opened(tmp_path, "ended")
    living.append([ENTRY])
    ended.append([ENTRY])
    assert left(tmp_path) == []
    ended.close()
    path = tmp_path / "ended.usage.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    with path.open("ab") as file:
        file.write(b'{"id":"chatcmpl-2","acc\xff')  # its writer died over it
    assert left(tmp_path) == [("ended", [ENTRY])]
    assert left(tmp_path) == []
    assert [each.name for each in tmp_path.iterdir()] == ["living.usage.jsonl"]


def test_an_entry_that_does_not_fit_is_refused_and_leaves_no_half_line(tmp_path: Path) -> None:
    spool = opened(tmp_path, "one")
    spool.append([ENTRY])
    full = os.open("/dev/full", os.O_RDWR)
    kept = os.dup(spool._fd)  # pyright: ignore[reportPrivateUsage]
    os.dup2(full, spool._fd)  # pyright: ignore[reportPrivateUsage]
    for attempt in (lambda: spool.append([ENTRY]), spool.probe):
        with pytest.raises(StoreUnavailable) as caught:
            attempt()
        assert caught.value.reason == "No space left on device"
    os.dup2(kept, spool._fd)  # pyright: ignore[reportPrivateUsage]
    spool.probe()
    assert spool.read()[0] == [ENTRY]
    for fd in (full, kept):
        os.close(fd)


def test_half_a_batch_that_cannot_be_taken_back_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = opened(tmp_path, "one")
    spool.append([ENTRY])
    write = os.pwrite

    def half(fd: int, data: bytes, at: int) -> int:
        monkeypatch.setattr(os, "pwrite", full)
        return write(fd, bytes(data)[: len(data) * 3 // 4], at)

    def full(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", half)
    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(StoreUnavailable):
        spool.append([OTHER, OTHER])
    monkeypatch.undo()
    assert spool.read()[0] == [ENTRY]
    third = replace(ENTRY, id="chatcmpl-3")
    spool.append([third])
    assert spool.read()[0] == [ENTRY, third]
    spool.close()


def test_a_file_that_was_truncated_has_nothing_more(tmp_path: Path) -> None:
    spool = opened(tmp_path, "one")
    spool.append([ENTRY, OTHER])
    os.truncate(tmp_path / "one.usage.jsonl", 0)
    assert spool.read() == ([], 0)
    assert spool.n_entries == 0
    spool.append([OTHER])
    entries, size = spool.read()
    assert entries == [OTHER]
    spool.forget(1, size)
    assert spool.n_entries == 0


def test_other_files_of_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text("{}")
    assert left(tmp_path) == []
    assert (tmp_path / "notes.jsonl").exists()
