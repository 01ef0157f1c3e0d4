"""What is asked of one model does not keep the requests for another waiting."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.serving import Start, announced, ask, environment, start

__all__ = ["environment", "start"]

CONFIG = """
engine = "scripted"
scripted_tokens_per_s = 5
max_running = 8
queue_deadline_s = 0.2

[models.besieged]

[models.quiet]
"""


@pytest.mark.parametrize("max_queued", [0, 100])
def test_a_flood_of_one_model_leaves_the_other_alone(start: Start, tmp_path: Path, max_queued: int) -> None:
    config = tmp_path / "tessera.toml"
    config.write_text(CONFIG)
    server = announced(start("serve", "--config", config, "--port", 0, "--max-queued", max_queued))
    with ExitStack() as opened:
        flood = ask(model="besieged", n=4, max_tokens=1000, stream=True)
        for _ in range(2):
            client = opened.enter_context(server.client())
            assert opened.enter_context(client.stream("POST", "/v1/chat/completions", json=flood)).is_success
        client = opened.enter_context(server.client())

        def code(model: str, n: int) -> str | int:
            response = client.post("/v1/chat/completions", json=ask(model=model, n=n, max_tokens=1))
            return response.json()["error"]["code"] if response.is_error else response.status_code

        for n in (1, 8):
            assert code("besieged", n) == ("queue_timeout" if max_queued else "engine_overloaded")
            assert code("quiet", n) == 200
