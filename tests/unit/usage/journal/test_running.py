"""Requests that run: whenever the process dies, its file tells of those whose end is not on record."""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from tessera.core.usage import OPEN, LedgerEntry, Usage
from tessera.usage.journal.files import abandoned, decode
from tessera.usage.journal.running import SLOT_BYTES, RunningRequests

ENTRY = LedgerEntry("chatcmpl-1", "acc", "key", "m", "direct", True, 7.0)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "grow", "end", "forget", "round"]),
        st.integers(0, 3),
        st.sampled_from([0, 200, 1100]),
    ),
    max_size=60,
)


def opened(folder: Path) -> RunningRequests:
    running = RunningRequests(folder, "one")
    running.open()
    return running


def told(folder: Path) -> list[LedgerEntry]:
    """The entries in the file as it is now, in the order of ids."""
    (path,) = folder.iterdir()
    return sorted(decode(path.read_bytes().splitlines()), key=lambda entry: entry.id)


@given(STEPS)
def test_the_file_tells_of_those_that_have_begun_and_whose_end_is_not_on_record(
    steps: list[tuple[str, int, int]],
) -> None:
    with TemporaryDirectory() as name:
        running = opened(Path(name))
        begun: dict[str, LedgerEntry] = {}
        written: dict[str, LedgerEntry] = {}
        for number, (step, which, n_letters) in enumerate(steps):
            id = f"{number:04}" if step == "begin" else list(begun or [""])[which % max(1, len(begun))]
            if step == "begin":
                begun[id] = replace(ENTRY, id=id, model="é" * (n_letters // 2))
                if running.begin(id, lambda id=id: begun[id]):
                    written[id] = begun[id]
                assert (id in written) == (n_letters < SLOT_BYTES)
            elif step == "grow" and id and begun[id].finish == OPEN:
                begun[id] = replace(begun[id], usage=Usage(completion_tokens=number))
                running.forget(begun[id])  # an entry that is open is not its end
            elif step == "end" and id:
                begun[id] = replace(begun[id], finish="stop")
                running.end(begun[id])
            elif step == "forget":
                running.forget(replace(ENTRY, id=id, finish="stop"))
                begun.pop(id, None)
                written.pop(id, None)
            elif step == "round":
                assert {entry.id: entry for entry in running.rewrite()} == begun
                written = {id: begun[id] for id in written}
            assert told(Path(name)) == [written[id] for id in sorted(written)]
        running.close()
        left = [entry for _, pieces in abandoned(Path(name)) for piece in pieces for entry in piece]
        assert sorted(left, key=lambda entry: entry.id) == [written[id] for id in sorted(written)]
        assert list(Path(name).iterdir()) == []


def test_slots_are_used_again(tmp_path: Path) -> None:
    running = opened(tmp_path)
    for number in range(1000):
        assert running.begin(str(number), lambda: ENTRY)
        if number >= 10:
            running.forget(replace(ENTRY, id=str(number - 10), finish="stop"))
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == 11 * SLOT_BYTES
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_runs_is_told_as_it_is_now_even_without_a_file(tmp_path: Path) -> None:
    running, tokens = RunningRequests(tmp_path, "one"), [1]
    assert not running.begin("1", lambda: replace(ENTRY, usage=Usage(completion_tokens=tokens[0])))
    tokens[0] = 5
    assert [entry.usage.completion_tokens for entry in running.rewrite()] == [5]


def test_a_full_disk_is_said_and_harms_nothing_else(tmp_path: Path) -> None:
    running = opened(tmp_path)
    assert running.begin(ENTRY.id, lambda: ENTRY)
    full = os.open("/dev/full", os.O_RDWR)
    kept = os.dup(running._fd)  # pyright: ignore[reportPrivateUsage]
    os.dup2(full, running._fd)  # pyright: ignore[reportPrivateUsage]
    assert not running.begin("lost", lambda: replace(ENTRY, id="lost"))
    os.dup2(kept, running._fd)  # pyright: ignore[reportPrivateUsage]
    assert running.begin("2", lambda: replace(ENTRY, id="2"))
    (path,) = tmp_path.iterdir()
    assert path.stat().st_size == 2 * SLOT_BYTES
    assert [entry.id for entry in told(tmp_path)] == ["2", "chatcmpl-1"]
    for fd in (full, kept):
        os.close(fd)


def test_a_slot_that_is_freed_after_the_end_touches_nobody_elses_file(tmp_path: Path) -> None:
    running = opened(tmp_path)
    assert running.begin(ENTRY.id, lambda: ENTRY)
    running.close()
    with (tmp_path / "other").open("wb", buffering=0) as other:  # has the descriptor that was closed
        other.write(b"{}")
        running.forget(replace(ENTRY, finish="stop"))
    assert (tmp_path / "other").read_bytes() == b"{}"
