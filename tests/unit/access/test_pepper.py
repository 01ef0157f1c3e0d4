import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tessera.access.pepper import find_pepper
from tessera.errors import StartupError


def test_a_given_one_is_taken() -> None:
    assert find_pepper("p" * 32, None) == b"p" * 32


def test_one_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    database = tmp_path / "deep/er/tessera.db"
    first = find_pepper(None, database)
    assert len(first) >= 32
    assert find_pepper(None, database) == first
    (file,) = database.parent.iterdir()
    assert file.name == "tessera.db.pepper"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert find_pepper(None, tmp_path / "other.db") != first


def test_of_many_that_are_made_at_once_one_stays(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: find_pepper(None, tmp_path / "tessera.db"), range(16)))
    assert len(found) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_without_a_file_it_has_to_be_given() -> None:
    with pytest.raises(StartupError, match="TESSERA_PEPPER"):
        find_pepper(None, None)


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tessera.db.pepper").write_text("short")
    with pytest.raises(StartupError, match="damaged"):
        find_pepper(None, tmp_path / "tessera.db")


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartupError, match="file"):
        find_pepper(None, tmp_path / "file/tessera.db")
