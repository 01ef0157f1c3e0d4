"""What a GGUF file says of its model, before anything of it is computed."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tessera.errors import ModelError
from tessera.models.header import GgufHeader, read_header

# Tokens that end a turn, by the metadata key that names them.
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")


_PART = re.compile(r"(.*-)(\d{5})-of-(\d{5})\.gguf")


def models_among(names: Iterable[str]) -> dict[str, list[str]]:
    """The GGUF models among files, each by its first part, with all parts that it should have. Projectors of
    images are no models.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(names):
        part = _PART.fullmatch(name)
        if not name.endswith(".gguf") or name.rpartition("/")[2].startswith("mmproj"):
            continue
        if part is None:
            found[name] = [name]
        elif int(part[2]) == 1:
            found[name] = [f"{part[1]}{i:05}-of-{part[3]}.gguf" for i in range(1, int(part[3]) + 1)]
    return found


def parts_of(path: Path) -> list[Path]:
    """All parts of a file, in order, of which `path` is the first; raises `ModelError` if one is missing."""
    [names] = models_among([path.name]).values() or [[path.name]]
    paths = [path.with_name(name) for name in names]
    if missing := [part for part in paths if not part.is_file()]:
        raise ModelError(f"{missing[0]} is missing, a part of {path.name}.")
    return paths


@dataclass(frozen=True, slots=True)
class GgufMetadata:
    """The key-value pairs of a file as plain values, and what conversion needs of them by name."""

    fields: Mapping[str, object]
    architecture: str
    context_tokens: int
    chat_template: str | None
    eos_token_ids: tuple[int, ...]
    bos_token: str | None
    eos_token: str | None


def read_metadata(path: Path) -> GgufMetadata:
    """Reads a whole GGUF file, or the first part of one; raises `ModelError` if it is not one."""
    header = header_of(path)
    fields, architecture = header.fields, header.architecture
    length = header.of_architecture("context_length")
    if not architecture or not isinstance(length, int):
        raise ModelError(f"{path} does not say its architecture and its context length.")
    template = fields.get("tokenizer.chat_template")
    ids = (fields.get(f"tokenizer.ggml.{name}") for name in _ENDS)
    return GgufMetadata(
        fields=fields,
        architecture=architecture,
        context_tokens=length,
        chat_template=template if isinstance(template, str) else None,
        eos_token_ids=tuple(dict.fromkeys(id for id in ids if isinstance(id, int))),
        bos_token=_token(fields, "bos_token_id"),
        eos_token=_token(fields, "eos_token_id"),
    )


def header_of(path: Path) -> GgufHeader:
    """The header of a file; raises `ModelError` if it cannot be read, or if the file is cut off."""
    try:
        with path.open("rb") as file:
            header = read_header(file, str(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    if (size := path.stat().st_size) < header.end:
        raise ModelError(
            f"{path} is not a GGUF file, or not a whole one: it has {size} of {header.end} bytes"
        )
    return header


def _token(fields: Mapping[str, object], key: str) -> str | None:
    id, tokens = fields.get(f"tokenizer.ggml.{key}"), fields.get("tokenizer.ggml.tokens", ())
    names = cast("Sequence[object]", tokens)
    return str(names[id]) if isinstance(id, int) and 0 <= id < len(names) else None
