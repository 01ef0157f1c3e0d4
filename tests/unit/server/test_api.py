import os
from pathlib import Path

import pytest
import uvicorn

from tessera.models.source import GenerationConfig, ModelSource
from tessera.server.api import UVICORN, ApiPlan, pack, read_plan
from tessera.server.models import ModelPlan
from tessera.settings import Settings

SETTINGS = Settings(api_key="sk-tessera-" + "a" * 40, cache_dir=Path("/cache"), aliases=("a", "b"))
FAMILY = ModelSource("tessera/scripted", 1, 4096, family="hermes")
FOLDER = ModelSource(
    path=Path("/models/one"),
    model_id="one",
    context_tokens=4096,
    bos_token="<s>",
    eos_token="<|im_end|>",
    eos_token_ids=(2,),
    chat_template=None,
    generation=GenerationConfig(temperature=0.5),
    created_s=1,
)
MODELS = (ModelPlan(SETTINGS, FOLDER, "/run/engine"), ModelPlan(SETTINGS, FAMILY))


@pytest.mark.parametrize("models", [(ModelPlan(SETTINGS, FAMILY),), MODELS])
def test_a_plan_crosses_a_pipe_and_leaves_the_rest_in_it(models: tuple[ModelPlan, ...]) -> None:
    plan = ApiPlan(SETTINGS, b"\0" * 32, models)
    receiving, sending = os.pipe()
    os.write(sending, pack(plan) + b"!")
    os.close(sending)
    assert read_plan(receiving) == plan
    assert os.read(receiving, 9) == b"!"
    os.close(receiving)


def test_idle_connections_are_kept_for_longer_than_clients_and_proxies_keep_them() -> None:
    """httpx, below OpenAI's client, keeps them for 5 s, HttpClient of Java for 30, nginx for 60."""
    assert uvicorn.Config("", **UVICORN).timeout_keep_alive > 60


def test_a_parent_that_says_nothing_is_named() -> None:
    receiving, sending = os.pipe()
    os.write(sending, b"\0\0")
    os.close(sending)
    with pytest.raises(SystemExit, match="parent"):
        read_plan(receiving)
    os.close(receiving)
