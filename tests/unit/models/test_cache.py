import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tessera.errors import ModelError
from tessera.models import manifest
from tessera.models.cache import Cache, CachedModel, Origin, entry_name
from tessera.models.manifest import Damaged
from tessera.models.progress import Quiet

BUILDER = Path(__file__).with_name("builder.py")


class Notes(Quiet):
    """A progress that records its lines."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def build(folder: Path) -> Origin:
    (folder / "deep").mkdir(exist_ok=True)
    (folder / "deep" / "weights.bin").write_bytes(b"weights" * 100)
    (folder / "source.gguf").write_bytes(b"source" * 100)
    return Origin("the/model", "a package", kept=("source.gguf",))


def never(folder: Path) -> Origin:
    raise AssertionError("it is there already")


def start(root: Path, way: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, BUILDER, root, way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def end(process: subprocess.Popen[str]) -> None:
    with process:
        process.kill()


def test_a_model_is_made_once(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made = cache.ensure("model", build, Quiet())
    assert cache.ensure("model", never, Quiet()) == made
    assert cache.find("model") == made
    assert cache.entries() == [made]
    assert (made.manifest.model_id, made.manifest.origin) == ("the/model", "a package")
    assert made.size_bytes == 1300


def test_an_empty_cache_has_no_models(tmp_path: Path) -> None:
    assert Cache(tmp_path / "absent").entries() == []
    assert Cache(tmp_path).find("model") is None


def test_a_failed_build_leaves_no_model_and_the_next_one_sees_what_it_left(tmp_path: Path) -> None:
    def fail(folder: Path) -> Origin:
        (folder / "half").write_text("half")
        raise ModelError("no network")

    def go_on(folder: Path) -> Origin:
        assert (folder / "half").read_text() == "half"
        return build(folder)

    cache = Cache(tmp_path)
    with pytest.raises(ModelError, match="no network"):
        cache.ensure("model", fail, Quiet())
    assert cache.entries() == []
    cache.ensure("model", go_on, Quiet())
    assert [entry.name for entry in cache.entries()] == ["model"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


DAMAGE = pytest.mark.parametrize("harm", [flip, truncate, Path.unlink])


@DAMAGE
def test_a_damaged_file_is_noticed_and_the_model_made_again(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    cache, notes = Cache(tmp_path), Notes()
    made = cache.ensure("model", build, notes)
    harm(made.path / "deep" / "weights.bin")
    with pytest.raises(Damaged, match=r"weights\.bin"):
        cache.find("model")
    cache.ensure("model", build, notes)
    assert any("weights.bin" in note for note in notes.said)
    assert (made.path / "deep" / "weights.bin").read_bytes() == b"weights" * 100


@DAMAGE
def test_verifying_reads_everything(harm: Callable[[Path], None], tmp_path: Path) -> None:
    made = Cache(tmp_path).ensure("model", build, Quiet())
    made.verify()
    harm(made.path / "source.gguf")
    with pytest.raises(Damaged, match=r"source\.gguf"):
        made.verify()


def test_a_file_that_serving_does_not_read_is_judged_by_its_size_at_start(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made = cache.ensure("model", build, Quiet())
    flip(made.path / "source.gguf")
    assert cache.find("model") == made
    truncate(made.path / "source.gguf")
    with pytest.raises(Damaged):
        cache.find("model")


@pytest.mark.parametrize("text", ["", "{", '{"model_id": 1}', "[]"])
def test_a_broken_manifest_is_damage(text: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made = cache.ensure("model", build, Quiet())
    (made.path / manifest.NAME).write_text(text)
    with pytest.raises(Damaged, match=manifest.NAME):
        cache.find("model")
    assert cache.ensure("model", build, Quiet()).manifest.files == made.manifest.files


def test_a_folder_without_a_manifest_is_no_model(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    made = cache.ensure("model", build, Quiet())
    (made.path / manifest.NAME).unlink()
    assert cache.find("model") is None
    assert cache.entries() == []


def test_a_removed_model_is_gone_and_can_be_made_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.ensure("model", build, Quiet())
    cache.remove("model", Quiet())
    assert cache.entries() == []
    assert isinstance(cache.ensure("model", build, Quiet()), CachedModel)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="file"):
        Cache(tmp_path / "file").ensure("model", build, Quiet())


def test_a_process_may_be_killed_at_any_moment(tmp_path: Path) -> None:
    """The builder kills a process at each of its file system calls and looks what is left."""
    done = subprocess.run(
        [sys.executable, BUILDER, tmp_path, "killed"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 15


def test_of_two_processes_one_makes_the_model_and_the_other_waits_for_it(tmp_path: Path) -> None:
    first = start(tmp_path, "wait")
    assert line(first) == "building"
    second = start(tmp_path, "wait")
    assert "Another process is preparing tiny" in line(second)
    tell(first)
    assert line(first) == line(second) == str(tmp_path / "models" / "tiny")
    end(first)
    end(second)


def test_when_the_maker_is_killed_the_one_that_waits_takes_over(tmp_path: Path) -> None:
    first = start(tmp_path, "wait")
    assert line(first) == "building"
    second = start(tmp_path, "wait")
    assert "waiting" in line(second)
    end(first)
    assert line(second) == "building"
    tell(second)
    assert line(second) == str(tmp_path / "models" / "tiny")
    end(second)


def test_nobody_builds_while_a_child_of_a_killed_maker_still_writes(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "runs")
    os.mkfifo(tmp_path / "told")
    first = start(tmp_path, "orphan")
    (tmp_path / "runs").read_text()
    end(first)
    second = start(tmp_path, "wait")
    assert "waiting" in line(second)
    (tmp_path / "told").write_text("\n")
    assert line(second) == "building"
    assert not (tmp_path / "runs").exists()
    tell(second)
    assert line(second) == str(tmp_path / "models" / "tiny")
    end(second)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/name@main:Q4", "org--name@main--Q4"),
        ("../../etc", "etc"),
        (".hidden", "hidden"),
        ("...", "model"),
        ("a b\0c", "a--b--c"),
    ],
)
def test_an_entry_name_is_one_visible_folder(text: str, name: str) -> None:
    assert entry_name(text) == name
