"""Two engines with the embedded model, under two names, beside a scripted one."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.serving import Start, ask, children, command, environment, start

from tessera.models.cache import default_root
from tessera.models.source import ModelSource

__all__ = ["environment", "start"]

pytestmark = pytest.mark.live

KEY = "sk-tessera-" + "m" * 40
CONFIG = """
offline = true
kv_cache_bytes = "64MiB"
max_sequences = 4
threads = 1

[models.left]

[models.right]
context_tokens = 512

[models.practice]
engine = "scripted"
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_each_model_has_an_engine_that_dies_alone(
    start: Start, tmp_path: Path, model_folder: ModelSource, workers: int
) -> None:
    config = tmp_path / "tessera.toml"
    config.write_text(CONFIG)
    process = start(
        *("serve", "--config", config, "--port", 0, "--workers", workers),
        TESSERA_API_KEY=KEY,
        TESSERA_CACHE_DIR=str(default_root()),
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(4)]
    assert [line.split()[1] for line in lines[:3]] == ["left.", "right.", "practice."]
    url = lines[3].split()[2].removesuffix("/v1,")
    engines = [id for id in children(process.pid) if "engine.host.worker" in command(id)]
    assert len(engines) == 2
    with httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as client:

        def say(name: str) -> Any:
            body = ask(model=name, temperature=0, max_tokens=12)
            return client.post("/v1/chat/completions", json=body)

        cards = {card["id"]: card for card in client.get("/v1/models").json()["data"]}
        assert [*cards] == ["left", "right", "practice"]
        assert cards["right"]["context_length"] == 512 < cards["left"]["context_length"]
        replies = {name: say(name).json() for name in cards}
        assert [reply["model"] for reply in replies.values()] == [*cards]
        said = {name: reply["choices"][0]["message"]["content"] for name, reply in replies.items()}
        assert said["left"] == said["right"] != said["practice"]
        os.kill(engines[0], signal.SIGKILL)
        for name in ("right", "practice"):
            assert say(name).json()["choices"][0]["message"]["content"] == said[name]
        assert client.get("/readyz").status_code == 200
        begun = time.monotonic()
        while say("left").status_code != 200:
            assert time.monotonic() - begun < 120
            time.sleep(0.5)  # each attempt is a line of the log, which nobody reads
        assert say("left").json()["choices"][0]["message"]["content"] == said["left"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 0
