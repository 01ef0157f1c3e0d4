"""Files and budgets that llama.cpp cannot serve: each is refused with what is wrong."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.hosted import llama_core_of, llama_start
from tests.tiny_architectures import write_architecture
from tests.tiny_model import byte_words

from tessera.engine.batch.core import BatchCore
from tessera.engine.llamacpp.files import GGUF
from tessera.engine.llamacpp.library import find_library
from tessera.errors import ModelError, StartupError
from tessera.models.cache import Cache
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve

pytestmark = pytest.mark.live

Damage = Callable[[bytes], bytes]


def replacing(before: bytes, after: bytes) -> Damage:
    """Writes other text of the same length into the file."""
    assert len(before) == len(after)

    def damage(data: bytes) -> bytes:
        assert before in data
        return data.replace(before, after)

    return damage


@dataclass(frozen=True)
class Refused:
    """A file that is changed, what it is called, and the budgets; and what the message must say."""

    id: str
    says: str
    damage: Damage = bytes
    name: str = "m.gguf"
    second_part: Damage | None = None
    options: Mapping[str, int] = field(default_factory=dict[str, int])


REFUSED = (
    Refused("another kind of file", r"m\.gguf is not a GGUF file", lambda data: b"PK\x03\x04" + data[4:]),
    Refused("an empty file", r"m\.gguf is not a GGUF file, or not a whole one", lambda _: b""),
    Refused("cut in the header", r"m\.gguf is not a GGUF file, or not a whole one", lambda data: data[:300]),
    Refused("cut in the weights", r"not a whole one: it has \d+ of \d+ bytes", lambda data: data[:-100]),
    Refused("a part is missing", r"m-00002-of-00002\.gguf is missing", name="m-00001-of-00002.gguf"),
    Refused(
        "a part is cut",
        r"m-00002-of-00002\.gguf is not a GGUF file, or not a whole one",
        name="m-00001-of-00002.gguf",
        second_part=lambda data: data[:-100],
    ),
    Refused("an unknown architecture", "unknown model architecture: 'llamb'", replacing(b"llama", b"llamb")),
    Refused(
        "a tensor is missing",
        r"tensor 'blk\.0\.attn_q\.weight'",
        replacing(b"blk.0.attn_q.weight", b"blk.0.attn_x.weight"),
    ),
    Refused(
        "more memory than there is",
        r"The model needs .* are available\. It fits with kv_cache_bytes at \d+M",
        options={"kv_cache_bytes": 2**50, "context_tokens": 2**36},
    ),
    Refused(
        "a budget for less than a step",
        r"kv_cache_bytes holds 0 tokens .* Set it to \d+M or more",
        options={"kv_cache_bytes": 1000},
    ),
)


@pytest.fixture(scope="module")
def library() -> None:
    try:
        find_library(None)
    except StartupError as error:
        pytest.skip(error.message)


@pytest.fixture(scope="module")
def whole(library: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "m.gguf"
    write_architecture(path, "llama", byte_words(tags_are_tokens=True))
    return path


def serve(path: Path, cache: Path, **options: int) -> BatchCore:
    return llama_core_of(llama_start(resolve(str(path), Cache(cache), Quiet(), GGUF), 300, **options))


@pytest.mark.parametrize("refused", REFUSED, ids=lambda each: each.id)
def test_what_cannot_be_served_is_refused_with_what_is_wrong(
    refused: Refused, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / refused.name
    path.write_bytes(refused.damage(whole.read_bytes()))
    if refused.second_part:
        (tmp_path / "m-00002-of-00002.gguf").write_bytes(refused.second_part(whole.read_bytes()))
    with pytest.raises((ModelError, StartupError), match=refused.says) as caught:
        serve(path, tmp_path / "cache", **refused.options)
    assert "\n" not in caught.value.message


def test_the_whole_file_is_served(whole: Path, tmp_path: Path) -> None:
    """So that the refusals above are of what was changed."""
    shutil.copy(whole, tmp_path / "m.gguf")
    assert serve(tmp_path / "m.gguf", tmp_path / "cache").info.context_tokens > 0
