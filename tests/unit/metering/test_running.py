"""Requests that run: whenever the process dies, its file tells of those whose end is not on record."""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from tessera.core.entry import Entry
from tessera.core.usage import Usage
from tessera.metering.files import abandoned, decode
from tessera.metering.running import PLACE_BYTES, Places, Running

ENTRY = Entry("chatcmpl-1", "acc", "key", "m", "direct", True, 7.0)

STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "end", "forget"]), st.integers(0, 3), st.integers(0, 1100)),
    max_size=60,
)


def told(folder: Path) -> list[Entry]:
    """By the file as it is now, in the order of ids."""
    (path,) = folder.iterdir()
    return sorted(decode(path.read_bytes()), key=lambda entry: entry.id)


@given(STEPS)
def test_the_file_tells_of_those_that_have_begun_and_whose_end_is_not_on_record(
    steps: list[tuple[str, int, int]],
) -> None:
    with TemporaryDirectory() as name:
        running = Running()
        running.places = Places(Path(name), "one")
        begun: dict[str, Entry] = {}
        written: set[str] = set()
        runs: set[str] = set()
        for number, (step, which, n_letters) in enumerate(steps):
            if step == "begin":
                id = f"{number:04}"
                entry = begun[id] = replace(ENTRY, id=id, model="é" * (n_letters // 2))
                runs.add(id)
                if running.begin(id, lambda entry=entry: entry):
                    written.add(id)
                assert (id in written) or n_letters > PLACE_BYTES // 2
            elif begun:
                id = list(begun)[which % len(begun)]
                running.end(id)
                runs.discard(id)
                if step == "forget":
                    running.forget(id)
                    del begun[id]
                    written.discard(id)
            assert told(Path(name)) == [begun[id] for id in sorted(written)]
            assert {entry.id for entry in running.entries()} == runs
        running.places.close()
        left = [entry.id for _, entries in abandoned(Path(name)) for entry in entries]
        assert sorted(left) == sorted(written)
        assert list(Path(name).iterdir()) == []


def test_places_are_used_again(tmp_path: Path) -> None:
    running = Running()
    running.places = Places(tmp_path, "one")
    for number in range(1000):
        assert running.begin(str(number), lambda: ENTRY)
        if number >= 10:
            running.forget(str(number - 10))
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == 11 * PLACE_BYTES
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_runs_is_told_as_it_is_now() -> None:
    running, tokens = Running(), [1]
    assert not running.begin("1", lambda: replace(ENTRY, usage=Usage(completion_tokens=tokens[0])))
    tokens[0] = 5
    assert [entry.usage.completion_tokens for entry in running.entries()] == [5]


def test_a_full_disk_is_said_and_harms_nothing_else(tmp_path: Path) -> None:
    places = Places(tmp_path, "one")
    first = places.take(ENTRY)
    full = os.open("/dev/full", os.O_RDWR)
    kept = os.dup(places._fd)  # pyright: ignore[reportPrivateUsage]
    os.dup2(full, places._fd)  # pyright: ignore[reportPrivateUsage]
    assert places.take(ENTRY) is None
    os.dup2(kept, places._fd)  # pyright: ignore[reportPrivateUsage]
    assert places.take(replace(ENTRY, id="2")) == 1
    assert first == 0
    assert [entry.id for entry in told(tmp_path)] == ["2", "chatcmpl-1"]
    for fd in (full, kept):
        os.close(fd)
