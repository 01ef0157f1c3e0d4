"""The engine's process around a core without a model: its tokens are a hash of prompt, seed and position.

Some prompts misbehave on purpose; see the constants.
"""

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tessera.core.generation import EngineFinish, EngineInfo, Prompt, Sampling, TokenChunk, TokenLogprob
from tessera.engine.host.frames import Start
from tessera.engine.host.worker import main
from tessera.engine.openvino.row import FEATURES
from tessera.errors import GenerationFailed, GrammarTooSlow, TesseraError

REFUSED, CRASHES, FAILS, TELLS_ENVIRONMENT, FLOODS, POISONS, STALLS, TOO_SLOW = range(900, 908)
PRIVATE = "private words"
STEP_S = 0.001

COMMAND = (sys.executable, __file__)
START = Start(
    factory="__main__:FakeCore",
    served=EngineInfo("fake", 4096, 1000, frozenset({2}), FEATURES, max_sequences=8),
    options={},
)


@dataclass
class Running:
    prompt: Prompt
    sampling: Sampling
    n_tokens: int = 0
    left: set[int] = field(default_factory=set[int])


class FakeCore:
    """A core without a model. Its options: `loads_s`, the time that loading takes; `missing`, a file that
    does not exist; `helped`, which starts a process of its own.
    """

    def __init__(self, served: EngineInfo, options: Mapping[str, Any]) -> None:
        if "missing" in options:
            raise FileNotFoundError(options["missing"])
        time.sleep(options.get("loads_s", 0))
        if "helped" in options:
            self._helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
        self.info: EngineInfo = replace(served, context_tokens=served.context_tokens // 2)
        self._n_tokens = served.vocabulary_size * 4 // 5
        self._running: dict[int, Running] = {}

    @property
    def busy(self) -> bool:
        return bool(self._running)

    def submit(self, request: int, prompt: Prompt, sampling: Sampling) -> None:
        if prompt.token_ids[0] == REFUSED:
            raise ValueError(PRIVATE)
        self._running[request] = Running(prompt, sampling, left=set(range(sampling.n)))

    def abort(self, request: int) -> None:
        self._running.pop(request, None)

    def gauges(self) -> dict[str, int]:
        return {"running": len(self._running), "waiting": 0, "blocks_used": 2 * len(self._running)}

    def step(self) -> list[tuple[int, TokenChunk | TesseraError]]:
        time.sleep(STEP_S)
        return self._steps()

    def _steps(self) -> list[tuple[int, TokenChunk | TesseraError]]:
        out: list[tuple[int, TokenChunk | TesseraError]] = []
        for request, running in tuple(self._running.items()):
            match running.prompt.token_ids[0], running.n_tokens:
                case (token, 2) if token == CRASHES:
                    raise ValueError(PRIVATE)
                case (token, 0) if token == POISONS:
                    raise ValueError(PRIVATE)
                case (token, 2) if token == STALLS:
                    time.sleep(3600)
                case (token, 2) if token == FAILS:
                    out.append((request, GenerationFailed("It could not go on.")))
                    self._running.pop(request)
                    continue
                case (token, 2) if token == TOO_SLOW:
                    out.append((request, GrammarTooSlow("It is too slow.")))
                    self._running.pop(request)
                    continue
                case (token, _) if token == TELLS_ENVIRONMENT:
                    out.append((request, GenerationFailed(" ".join(sorted(os.environ)))))
                    self._running.pop(request)
                    continue
                case _:
                    pass
            out += [(request, self._next(running, sequence)) for sequence in sorted(running.left)]
            running.n_tokens += 1
            if not running.left:
                self._running.pop(request)
        return out

    def _next(self, running: Running, sequence: int) -> TokenChunk:
        prompt, sampling = running.prompt.token_ids, running.sampling
        if prompt[0] == FLOODS:
            return TokenChunk(sequence, tuple(range(2**17)))
        of = (prompt, (sampling.seed or 0) + sequence, running.n_tokens)
        token = int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:2], "big") % self._n_tokens
        finish: EngineFinish | None = None
        if token in sampling.stop_token_ids:
            finish = "stop"
        elif running.n_tokens + 1 == sampling.max_tokens:
            finish = "length"
        if finish:
            running.left.remove(sequence)
        k = sampling.top_logprobs
        logprobs = () if k is None else (TokenLogprob(token, -0.5, ((token, -0.5),)[:k]),)
        return TokenChunk(sequence, (token,), finish, logprobs=logprobs)


class ElsewhereCore(FakeCore):
    """The same, but a thread makes its steps, whether or not anybody waits for them."""

    def __init__(self, served: EngineInfo, options: Mapping[str, Any]) -> None:
        super().__init__(served, options)
        self._readable, self._writable = os.pipe()
        self._lock = threading.Lock()
        self._made: list[tuple[int, TokenChunk | TesseraError]] = []
        threading.Thread(target=self._run, daemon=True).start()

    def fileno(self) -> int:
        return self._readable

    @property
    def busy(self) -> bool:
        return bool(self._made)

    def submit(self, request: int, prompt: Prompt, sampling: Sampling) -> None:
        with self._lock:
            super().submit(request, prompt, sampling)

    def abort(self, request: int) -> None:
        with self._lock:
            self._running.pop(request, None)

    def step(self) -> list[tuple[int, TokenChunk | TesseraError]]:
        with self._lock:
            os.read(self._readable, 1)
            made, self._made = self._made, []
        return made

    def _run(self) -> None:
        while True:
            time.sleep(STEP_S)
            with self._lock:
                if not self._running:
                    continue
                if not self._made:
                    os.write(self._writable, b"\0")
                self._made += self._steps()


if __name__ == "__main__":
    main()
