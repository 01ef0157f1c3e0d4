"""The models that `benchmarks.llamacpp` measures: the embedded one in two quantisations, and random weights
that have the widths of real models, but few layers, and so take seconds to make.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize
from tests.qwen_words import qwen_words
from tests.tiny_architectures import Shape, write_architecture
from tests.tiny_model import words_of

from tessera.models.cache import Cache, default_root, entry_name
from tessera.models.embedded import EMBEDDED
from tessera.models.gguf import read_metadata

_TEMPLATE = Path(__file__).parents[1] / "tests" / "conformance" / "formats" / "templates" / "hermes.jinja"
_LAYERS = 4
_QWEN36_35B = Shape(
    width=2048,
    layers=_LAYERS,
    heads=16,
    kv_heads=2,
    head=256,
    key_heads=16,
    value_heads=32,
    state=128,
    experts=256,
    used=8,
    expert_inner=512,
    context=32_768,
)
_QWEN3_17B = Shape(width=2048, layers=_LAYERS, heads=16, kv_heads=8, head=128, inner=6144, context=32_768)


def embedded_gguf() -> Path:
    """The file that Tessera's embedded model was made of, in its cache from the first start on."""
    entry = Cache(default_root()).find(entry_name(EMBEDDED.model_id))
    assert entry is not None, "tessera serve has put it there"
    return entry.path / Path(EMBEDDED.member).name


def _embedded_q4_0(path: Path) -> None:
    """The same values in another quantisation. It is made of the first, so replies are worse by a little."""
    reader = GGUFReader(embedded_gguf())
    writer = GGUFWriter(path, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(name, field.contents())
        else:
            writer.add_key_value(name, field.contents(), field.types[0])
    for tensor in reader.tensors:
        kind, data = tensor.tensor_type, np.array(tensor.data)
        if kind == GGMLQuantizationType.Q4_1:
            data, kind = (
                quantize(dequantize(data, kind), GGMLQuantizationType.Q4_0),
                GGMLQuantizationType.Q4_0,
            )
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _qwen36_35b(path: Path) -> None:
    template = _TEMPLATE.read_text()
    write_architecture(path, "qwen35moe", qwen_words(), shape=_QWEN36_35B, template=template, quick=True)


def _qwen3_17b(path: Path) -> None:
    """With the embedded model's vocabulary, so that the output layer is no larger a part than of the whole
    model.
    """
    words, template = words_of(read_metadata(embedded_gguf()).fields), _TEMPLATE.read_text()
    write_architecture(path, "qwen3", words, shape=_QWEN3_17B, template=template, quick=True)


_MADE: Mapping[str, Callable[[Path], None]] = {
    "embedded-q4_0": _embedded_q4_0,
    "qwen3-1.7b": _qwen3_17b,
    "qwen3.6-35b-a3b": _qwen36_35b,
}
MODELS = ("embedded-q4_1", *_MADE)


def model_file(name: str, folder: Path) -> Path:
    """The file of the model, made in `folder` unless it is there already."""
    if name not in _MADE:
        return embedded_gguf()
    path = folder / f"{name}.gguf"
    if not path.exists():
        partial = path.with_suffix(".partial")
        _MADE[name](partial)
        partial.rename(path)
    return path
