"""Under which names a model is served."""

import pytest

from tessera.models.progress import Quiet
from tessera.models.source import ModelSource
from tessera.server.models import default_aliases, prepare_models
from tessera.settings import Settings

DEFAULT = ("Qwen/Qwen3.6-35B-A3B",)


@pytest.mark.parametrize(
    ("model", "architecture", "aliases"),
    [
        (None, "llama", DEFAULT),
        ("models/Qwen3.6-35B-A3B-Q4_K_M.gguf", "qwen35moe", DEFAULT),
        ("Qwen/Qwen3.6-27B", "qwen3_5", DEFAULT),
        ("models/Qwen3-4B-Q4_K_M.gguf", "qwen3", ()),
        ("models/SmolLM2-135M-Instruct.gguf", "llama", ()),
        ("models/unknown", "", ()),
    ],
)
def test_only_the_embedded_model_and_its_own_family_pass_for_the_default(
    model: str | None, architecture: str, aliases: tuple[str, ...]
) -> None:
    source = ModelSource("own", 1, 4096, architecture=architecture)
    assert default_aliases(Settings(model=model), source) == aliases


def test_aliases_that_are_set_are_the_aliases() -> None:
    (plan,) = prepare_models(Settings(engine="scripted", aliases=("a",)), Quiet())
    assert plan.settings.aliases == ("a",)
    (plan,) = prepare_models(Settings(engine="scripted", aliases=()), Quiet())
    assert plan.settings.aliases == ()
