"""What is read of GGUF files to plan their memory: in a moment, whatever the size of the vocabulary.

The format: a magic number, a version, the counts of tensors and of key-value pairs, the pairs, then for each
tensor its name, shape, type and the offset of its data behind the header.
"""

import mmap
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.errors import ModelError

_MAGIC = b"GGUF"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_KEPT = 1024
"""Longer arrays belong to the vocabulary and are skipped, like all arrays of strings."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """Pairs by key, without the vocabulary; the size of each tensor's data by its name."""

    values: Mapping[str, object]
    tensor_bytes: Mapping[str, int]


def read_header(parts: Sequence[Path]) -> GgufHeader:
    """Reads the parts of one model; raises `ModelError` for a file that is not GGUF, or cut off."""
    values: dict[str, object] = {}
    tensors: dict[str, int] = {}
    for path in parts:
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                header = _Reader(mapped).header()
        except (OSError, ValueError, KeyError, struct.error) as error:
            raise ModelError(f"{path} is not a GGUF file, or not a whole one: {error}") from error
        values = {**header.values, **values}
        tensors |= header.tensor_bytes
    return GgufHeader(values, tensors)


class _Reader:
    def __init__(self, mapped: mmap.mmap) -> None:
        self._mapped = mapped
        self._at = 0

    def header(self) -> GgufHeader:
        if self._mapped[: len(_MAGIC)] != _MAGIC:
            raise ValueError("its first bytes are others")
        self._at = len(_MAGIC)
        _, n_tensors, n_pairs = self._numbers("IQQ")
        values: dict[str, object] = {}
        for _ in range(n_pairs):
            key = self._text()
            (kind,) = self._numbers("I")
            value = self._value(kind)
            if value is not None:
                values[key] = value
        offsets: dict[str, int] = {}
        for _ in range(n_tensors):
            name = self._text()
            (n_dimensions,) = self._numbers("I")
            *_, offset = self._numbers(f"{n_dimensions}QIQ")
            offsets[name] = offset
        alignment = values.get("general.alignment", 32)
        begin = -(-self._at // alignment) * alignment if isinstance(alignment, int) else self._at
        return GgufHeader(values, _sizes(offsets, len(self._mapped) - begin))

    def _numbers(self, form: str) -> tuple[int, ...]:
        form = f"<{form}"
        found = struct.unpack_from(form, self._mapped, self._at)
        self._at += struct.calcsize(form)
        return found

    def _text(self) -> str:
        begin = self._at + 8
        self._skip_text()
        return self._mapped[begin : self._at].decode()

    def _skip_text(self) -> None:
        (n_bytes,) = self._numbers("Q")
        self._at += n_bytes
        if self._at > len(self._mapped):
            raise ValueError("it ends within a text")

    def _value(self, kind: int) -> object:
        """None for what is skipped."""
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            return self._numbers(_NUMBERS[kind])[0]
        kind, n_items = self._numbers("IQ")
        if kind == _STRING:
            for _ in range(n_items):
                self._skip_text()
            return None
        if n_items > _MOST_KEPT:
            self._at += n_items * struct.calcsize(f"<{_NUMBERS[kind]}")
            return None
        return list(self._numbers(f"{n_items}{_NUMBERS[kind]}"))


def _sizes(offsets: Mapping[str, int], end: int) -> dict[str, int]:
    """Each tensor's data reaches up to the next one's."""
    names = sorted(offsets, key=offsets.__getitem__)
    begins = [offsets[name] for name in names]
    sizes = {name: stop - start for name, start, stop in zip(names, begins, [*begins[1:], end], strict=False)}
    if any(size < 0 for size in sizes.values()):
        raise ValueError("its data is cut off")
    return sizes
