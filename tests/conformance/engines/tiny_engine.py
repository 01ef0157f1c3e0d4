"""An engine that is not part of Tessera: a core, and its row.

    python -m tests.conformance.engines.tiny_engine

is `tessera serve` with that engine added. Every reply is the greeting of its row and the place of the
interpreter that computes it. The prompt "die" ends its process.
"""

import os
import sys
from collections.abc import Mapping

from tessera.configuration import load
from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk
from tessera.engine.registry import ENGINES
from tessera.engine.row import EngineRow, Hosted
from tessera.engine.scripted.engine import ScriptedTokenizer
from tessera.errors import TesseraError
from tessera.models.progress import Quiet
from tessera.models.source import ModelSource
from tessera.server.parent import run_service

GREETING = "Greetings from"
DIE = tuple(ScriptedTokenizer().encode("die"))


class TinyCore:
    def __init__(self, served: EngineInfo, options: Mapping[str, object]) -> None:
        self.info = served
        tokenizer = ScriptedTokenizer()
        text = tokenizer.encode(f"{options['greeting']} {sys.prefix}")
        self._reply = [*text, tokenizer.control_tokens["<|im_end|>"]]
        self._left: dict[int, list[int]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._left)

    def submit(self, request: int, prompt: Prompt, sampling: Sampling) -> None:
        ids = prompt.token_ids
        if any(ids[start : start + len(DIE)] == DIE for start in range(len(ids))):
            os._exit(3)
        self._left[request] = self._reply[: sampling.max_tokens]

    def abort(self, request: int) -> None:
        self._left.pop(request, None)

    def step(self) -> list[tuple[int, TokenChunk | TesseraError]]:
        outputs: list[tuple[int, TokenChunk | TesseraError]] = []
        for request, left in [*self._left.items()]:
            token = left.pop(0)
            finish = None if left else "stop" if token == self._reply[-1] else "length"
            outputs.append((request, TokenChunk(0, (token,), finish)))
            if not left:
                self.abort(request)
        return outputs

    def gauges(self) -> dict[str, int]:
        return {"running": len(self._left), "waiting": 0}


TINY = EngineRow(
    prepare=lambda settings, cache, progress: ModelSource("tiny", 1, 4096, family="hermes"),
    tokenizer=lambda settings, source: ScriptedTokenizer(),
    runs=Hosted(
        "tests.conformance.engines.tiny_engine:TinyCore",
        features=frozenset(),
        options=lambda settings, source: {"greeting": GREETING},
    ),
)


def main() -> None:
    ENGINES["tiny"] = TINY
    run_service(load({}, os.environ), Quiet())


if __name__ == "__main__":
    main()
