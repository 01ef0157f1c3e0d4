"""The layout of a library is found by its default values; in these tests, functions return them."""

import ctypes as c
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tessera.engine.llamacpp.layouts import (
    CONTEXT_DEFAULTS,
    CONTEXT_LAYOUTS,
    MODEL_DEFAULTS,
    MODEL_LAYOUTS,
    Fields,
    find_layout,
    structure,
)


def library(fields: Fields, defaults: Mapping[str, object]) -> Any:
    """A function that writes defaults as one in C does, and no byte behind its own structure."""
    own = type("Own", (c.Structure,), {"_fields_": [*fields]})

    def give(*into: int) -> c.Structure | int:
        values = own(**defaults)
        if not into:
            given = structure(fields)()
            c.memmove(c.addressof(given), c.addressof(values), c.sizeof(own))
            return read_as(give.restype, given)  # pyright: ignore[reportFunctionMemberAccess]
        c.memmove(into[0], c.addressof(values), c.sizeof(own))
        return into[0]

    return give


def read_as(kind: type[c.Structure], given: c.Structure) -> c.Structure:
    read = kind()
    c.memmove(c.addressof(read), c.addressof(given), min(c.sizeof(read), c.sizeof(given)))
    return read


TABLES = [
    *((name, fields, CONTEXT_LAYOUTS, CONTEXT_DEFAULTS) for name, fields in CONTEXT_LAYOUTS.items()),
    *((name, fields, MODEL_LAYOUTS, MODEL_DEFAULTS) for name, fields in MODEL_LAYOUTS.items()),
]


@pytest.mark.parametrize(("name", "fields", "layouts", "defaults"), TABLES)
def test_each_layout_is_found(
    name: str, fields: Fields, layouts: Mapping[str, Fields], defaults: Mapping[str, object]
) -> None:
    found = find_layout(library(fields, defaults), layouts, defaults)
    assert found is not None
    assert [field[0] for field in found._fields_][:-1] == [field[0] for field in fields], name


# What the engine sets: these must never be written elsewhere.
SET = {
    *("n_ctx", "n_batch", "n_ubatch", "n_seq_max", "n_outputs_max", "n_outputs_max_per_seq", "n_threads"),
    *("n_threads_batch", "flash_attn_type", "type_k", "type_v", "kv_unified", "swa_full"),
    *("n_gpu_layers", "tensor_buft_overrides"),
}


def others(fields: Fields) -> Iterator[Fields]:
    """The layout with one field more, or without one that the engine does not set."""
    for place in range(len(fields) + 1):
        for kind in (c.c_int32, c.c_void_p, c.c_bool):
            # A switch before this one, off as it is, shows in a context only: `Context` looks for it.
            if kind is not c.c_bool or fields[min(place, len(fields) - 1)][0] != "kv_unified":
                yield [*fields[:place], ("news", kind), *fields[place:]]
        if place < len(fields) and fields[place][0] not in SET:
            yield [*fields[:place], *fields[place + 1 :]]


@pytest.mark.parametrize(("name", "fields", "layouts", "defaults"), TABLES)
def test_what_is_set_is_never_written_elsewhere(
    name: str, fields: Fields, layouts: Mapping[str, Fields], defaults: Mapping[str, object]
) -> None:
    n_refused = 0
    for other in others(fields):
        kinds = dict(other)
        given = {key: value for key, value in defaults.items() if key in kinds}
        news = {"news": 3 if kinds["news"] is not c.c_bool else False} if "news" in kinds else {}
        found = find_layout(library(other, given | news), layouts, defaults)
        n_refused += found is None
        own = structure(other)
        for field in SET & kinds.keys() if found else ():
            assert getattr(found, field).offset == getattr(own, field).offset, (name, field)
    assert n_refused > len(fields)
