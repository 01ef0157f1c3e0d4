"""GGUF files as they are: a model's folder names them, wherever they lie."""

import json
from pathlib import Path

from tessera.models.choice import GGUF_SUFFIX
from tessera.models.gguf import parts_of
from tessera.models.source import WeightsForm

NAMES = "gguf.json"


def refer(gguf: Path, folder: Path) -> None:
    """Notes in `folder` where the file is, with all its parts if it is split; raises `ModelError`."""
    paths = parts_of(gguf)
    texts = [path.name if path.parent == folder else str(path.resolve()) for path in paths]
    (folder / NAMES).write_text(json.dumps(texts))


def gguf_paths(folder: Path) -> list[Path]:
    """The files that were noted, in the order of their parts."""
    return [folder / text for text in json.loads((folder / NAMES).read_text())]


GGUF = WeightsForm(
    name="GGUF",
    files=(NAMES,),
    export="Name a GGUF file.",
    convert=refer,
    entry_suffix=GGUF_SUFFIX,
    has_tokenizer=True,
)
