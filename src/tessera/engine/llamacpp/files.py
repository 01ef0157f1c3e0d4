"""GGUF files as they are: a model's folder names them, wherever they lie."""

import json
import re
from pathlib import Path

from tessera.errors import ModelError
from tessera.models.source import WeightsForm

NAMES = "gguf.json"

_PART = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\.gguf)")


def refer(gguf: Path, folder: Path) -> None:
    """Notes in `folder` where the file is, with all its parts if it is split; raises `ModelError`."""
    paths = _parts(gguf)
    if missing := [path for path in paths if not path.is_file()]:
        raise ModelError(f"{missing[0]} is missing, a part of {gguf.name}.")
    texts = [path.name if path.parent == folder else str(path.resolve()) for path in paths]
    (folder / NAMES).write_text(json.dumps(texts))


def gguf_paths(folder: Path) -> list[Path]:
    """The files that were noted, in the order of their parts."""
    return [folder / text for text in json.loads((folder / NAMES).read_text())]


def _parts(gguf: Path) -> list[Path]:
    found = _PART.fullmatch(gguf.name)
    if found is None:
        return [gguf]
    begin, _, n_parts, end = found.groups()
    return [gguf.with_name(f"{begin}{i:05}-of-{n_parts}{end}") for i in range(1, int(n_parts) + 1)]


GGUF = WeightsForm(
    name="GGUF", files=(NAMES,), export="Name a GGUF file.", convert=refer, entry_suffix=".gguf"
)
