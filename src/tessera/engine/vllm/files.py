"""The form in which vLLM reads models: folders as Hugging Face's libraries write them."""

from pathlib import Path

from tessera.engine.vllm.footprint import WEIGHTS
from tessera.errors import ModelError
from tessera.models.source import WeightsForm


def _refuse(gguf: Path, folder: Path) -> None:
    raise ModelError(
        f"{gguf.name} is a GGUF file, which vLLM does not read: name a model with safetensors, or use the "
        "engine llamacpp."
    )


SAFETENSORS = WeightsForm(
    name="safetensors",
    files=("config.json",),
    export="Name a folder or a repository with *.safetensors files.",
    convert=_refuse,
    entry_suffix=".safetensors",
    weights=WEIGHTS,
    beside=("*.json", "merges.txt", "*.model", "*.jinja"),
)
