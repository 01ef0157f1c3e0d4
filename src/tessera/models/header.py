"""The header of a GGUF file: its key-value pairs, and the name, shape, type and place of every tensor.

It is read in order, from a file or from a connection, and stands before all weights: a few megabytes, most of
them the vocabulary. A file that is split has such a header in each part; the first one has the pairs.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Protocol

import numpy as np

from tessera.errors import ModelError

_STRING, _ARRAY = 8, 9
_NUMBERS: Mapping[int, str] = {
    **dict(enumerate(("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?"))),
    **{10: "<u8", 11: "<i8", 12: "<f8"},
}
_MOST_BYTES = 2**28
"""Of one value. The largest vocabularies have a few megabytes."""
_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` is in the file's order, the fastest dimension first; `offset` counts from the first tensor."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def size_bytes(self) -> int:
        """Raises `ModelError` for a type that the `gguf` library does not know."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType  # a third of a second

        try:
            n_values, n_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(self.type)]
        except (KeyError, ValueError) as error:
            known = ", ".join(each.name for each in GGML_QUANT_SIZES)
            raise ModelError(
                f"The tensor {self.name} has the type {self.type}, which is not known. Use a file in one of: "
                f"{known}."
            ) from error
        return prod(self.shape) // n_values * n_bytes


@dataclass(frozen=True)
class GgufHeader:
    """The values are plain; arrays are lists. The tensors' data begin `data_start` bytes into the file."""

    fields: Mapping[str, object]
    tensors: tuple[Tensor, ...]
    data_start: int

    @cached_property
    def end(self) -> int:
        """The bytes that a whole file has at least."""
        ends = (self.data_start + tensor.offset + tensor.size_bytes for tensor in self.tensors)
        return max(ends, default=0)

    @property
    def architecture(self) -> str:
        return str(self.fields.get("general.architecture", ""))

    def of_architecture(self, key: str) -> object:
        """The value of a key that the architecture's name begins, or None."""
        return self.fields.get(f"{self.architecture}.{key}")


def quantisation(type: int) -> str:
    """The name of a tensor's type."""
    from gguf import GGMLQuantizationType

    try:
        return GGMLQuantizationType(type).name
    except ValueError:
        return str(type)


class Readable(Protocol):
    """Gives fewer bytes than it is asked for only at its end."""

    def read(self, n_bytes: int, /) -> bytes: ...


def read_header(file: Readable, name: str) -> GgufHeader:
    """Reads from the beginning of a file; raises `ModelError`, which calls the file `name`."""
    try:
        return _read(_Reader(file))
    except (EOFError, OverflowError, UnicodeDecodeError, ValueError, struct.error) as error:
        raise ModelError(f"{name} is not a GGUF file, or not a whole one: {error}") from error


class _Reader:
    def __init__(self, file: Readable) -> None:
        self._file = file
        self.position = 0

    def bytes(self, n_bytes: int) -> bytes:
        if n_bytes > _MOST_BYTES:
            raise ValueError(f"a value of {n_bytes} bytes")
        found = self._file.read(n_bytes)
        if len(found) < n_bytes:
            raise EOFError("it ends within its header")
        self.position += n_bytes
        return found

    def number(self, kind: str) -> int:
        return struct.unpack(kind, self.bytes(struct.calcsize(kind)))[0]

    def string(self) -> str:
        return self.bytes(self.number("<Q")).decode(errors="replace")

    def value(self, kind: int) -> object:
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self._array(self.number("<I"), self.number("<Q"))
        return self._numbers(kind, 1)[0]

    def _array(self, kind: int, n_values: int) -> list[object]:
        if kind == _STRING:
            if n_values > _MOST_BYTES:
                raise ValueError(f"an array of {n_values} strings")
            return [self.string() for _ in range(n_values)]
        return self._numbers(kind, n_values)

    def _numbers(self, kind: int, n_values: int) -> list[object]:
        if kind not in _NUMBERS:
            raise ValueError(f"a value of the type {kind}")
        dtype = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self.bytes(n_values * dtype.itemsize), dtype).tolist()


def _read(reader: _Reader) -> GgufHeader:
    if (magic := reader.bytes(4)) != b"GGUF":
        raise ValueError(f"it begins with {magic!r}")
    if (version := reader.number("<I")) not in (2, 3):
        raise ValueError(f"its version is {version}")
    n_tensors, n_pairs = reader.number("<Q"), reader.number("<Q")
    fields: dict[str, object] = {}
    for _ in range(n_pairs):
        key = reader.string()
        fields[key] = reader.value(reader.number("<I"))
    tensors = [_tensor(reader) for _ in range(n_tensors)]
    alignment = fields.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"its alignment is {alignment}")
    return GgufHeader(fields, tuple(tensors), -(-reader.position // alignment) * alignment)


def _tensor(reader: _Reader) -> Tensor:
    name = reader.string()
    if (n_dimensions := reader.number("<I")) > 8:
        raise ValueError(f"the tensor {name} has {n_dimensions} dimensions")
    shape = tuple(reader.number("<Q") for _ in range(n_dimensions))
    return Tensor(name, shape, reader.number("<I"), reader.number("<Q"))
