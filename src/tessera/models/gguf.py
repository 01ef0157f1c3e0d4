"""What a GGUF file says of its model, before anything of it is computed.

Reading takes seconds, since a vocabulary is a hundred thousand little arrays: it is done once, at conversion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tessera.errors import ModelError

# Tokens that end a turn, by the metadata key that names them.
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")


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
    """Read a whole and well-formed GGUF file; raises `ModelError` if it is not one."""
    fields = _fields(path)
    architecture = str(fields.get("general.architecture", ""))
    length = fields.get(f"{architecture}.context_length")
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


def _fields(path: Path) -> dict[str, object]:
    import gguf  # a third of a second, needed at conversions only

    try:
        # Building the reader also lays out every tensor, which a cut-off file does not survive.
        reader = gguf.GGUFReader(path)
        return {name: cast("object", field.contents()) for name, field in reader.fields.items()}
    except Exception as error:  # the library trusts what it reads: anything may go wrong on a broken file
        raise ModelError(f"{path} is not a GGUF file, or not a whole one: {error}") from error


def _token(fields: Mapping[str, object], key: str) -> str | None:
    id, tokens = fields.get(f"tokenizer.ggml.{key}"), fields.get("tokenizer.ggml.tokens", ())
    names = cast("Sequence[object]", tokens)
    return str(names[id]) if isinstance(id, int) and 0 <= id < len(names) else None
