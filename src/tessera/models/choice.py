"""Which engine computes a model, where the settings leave it open.

| model                                                     | engine     |
|-----------------------------------------------------------|------------|
| the embedded one                                          | `openvino` |
| a folder, or a repository of a hub, with OpenVINO IR      | `openvino` |
| a GGUF file that OpenVINO reads: dense, up to 4 GiB       | `openvino` |
| any other GGUF file; any, if layers are to lie on a GPU   | `llamacpp` |

OpenVINO is faster with batches and prompts of the dense models that it converts; the conversion takes memory
and disk for a second copy, which is why large files are left to llama.cpp.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.models import hub
from tessera.models.cache import Cache, entry_name
from tessera.models.gguf import header_of, models_among, parts_of
from tessera.models.header import GgufHeader, quantisation
from tessera.models.hub import HubId
from tessera.models.paths import not_found
from tessera.models.progress import Progress
from tessera.text.gguf import knows_tokenizer

OPENVINO, LLAMACPP = "openvino", "llamacpp"
GGUF_SUFFIX = ".gguf"
"""Of the cache entries that llama.cpp reads."""

_DENSE = frozenset({"llama", "qwen2", "qwen3"})
_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 8: "Q8_0", 12: "Q4_K", 14: "Q6_K"}
_MOST_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """An engine's name, and why it was taken, as the end of a sentence."""

    engine: str
    reason: str


def choose_engine(
    spec: str | None, cache: Cache, progress: Progress, *, on_gpu: bool, has_llamacpp: bool, offline: bool
) -> EngineChoice:
    """The engine of the model that `spec` names.

    Without the library of llama.cpp, OpenVINO is tried with any file. Raises `ModelError`.
    """
    if spec is None:
        return EngineChoice(OPENVINO, "it is the one for the embedded model")
    if not has_llamacpp:
        return EngineChoice(OPENVINO, "no library of llama.cpp is installed")
    path = Path(spec).expanduser()
    if path.is_file():
        return _for_gguf([header_of(part) for part in parts_of(path)], on_gpu=on_gpu)
    if path.is_dir():
        firsts = list(models_among([file.name for file in path.glob("*.gguf")]))
        if (path / "openvino_model.xml").exists() or len(firsts) != 1:
            return EngineChoice(OPENVINO, "the folder has OpenVINO IR")
        return _for_gguf([header_of(part) for part in parts_of(path / firsts[0])], on_gpu=on_gpu)
    return _for_hub(spec, cache, progress, on_gpu=on_gpu, offline=offline)


def _for_hub(spec: str, cache: Cache, progress: Progress, *, on_gpu: bool, offline: bool) -> EngineChoice:
    made = {entry.name for entry in cache.entries()}
    if entry_name(spec) + GGUF_SUFFIX in made:
        return EngineChoice(LLAMACPP, "the model is in the cache in its form")
    hub_id = HubId.parse(spec)
    if entry_name(spec) not in made and hub_id is None:
        raise not_found(spec)
    if entry_name(spec) in made or hub_id is None or offline:
        return EngineChoice(OPENVINO, "the model is in the cache in its form")
    headers = hub.remote_headers(hub_id, progress)
    if not headers:
        return EngineChoice(OPENVINO, "the repository has OpenVINO IR")
    return _for_gguf(headers, on_gpu=on_gpu)


def why_not_openvino(headers: Sequence[GgufHeader]) -> str | None:
    """What OpenVINO does not read of a GGUF file, and what it reads, as a sentence; None if nothing is
    known.
    """
    architecture = headers[0].architecture
    types = {tensor.type for header in headers for tensor in header.tensors}
    if architecture not in _DENSE:
        what = f"the architecture {architecture}"
    elif headers[0].of_architecture("expert_count"):
        what = "a mixture of experts"
    elif not types <= _TYPES.keys():
        what = f"the quantisation {', '.join(sorted(quantisation(type) for type in types - _TYPES.keys()))}"
    else:
        return None
    return (
        f"OpenVINO does not read {what}. It reads the architectures {', '.join(sorted(_DENSE))} without "
        f"experts, in {', '.join(_TYPES.values())}; llama.cpp reads more: tessera engines install llamacpp."
    )


def _for_gguf(headers: Sequence[GgufHeader], *, on_gpu: bool) -> EngineChoice:
    first = headers[0]
    types = {tensor.type for header in headers for tensor in header.tensors}
    size = sum(header.end for header in headers)
    if on_gpu:
        return EngineChoice(LLAMACPP, "gpu_layers asks for a GPU")
    if first.architecture not in _DENSE:
        return EngineChoice(LLAMACPP, f"the architecture is {first.architecture}")
    if first.of_architecture("expert_count"):
        return EngineChoice(LLAMACPP, "the model is a mixture of experts")
    if not types <= _TYPES.keys():
        return EngineChoice(LLAMACPP, f"the quantisation is none of {', '.join(_TYPES.values())}")
    if size > _MOST_BYTES or len(headers) > 1:
        return EngineChoice(LLAMACPP, "the file is larger than 4 GiB, or split")
    if not knows_tokenizer(first.fields):
        return EngineChoice(LLAMACPP, "the tokenizer is known to llama.cpp alone")
    return EngineChoice(OPENVINO, f"it reads {first.architecture}, and the file is small")
