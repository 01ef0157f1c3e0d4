"""The vLLM engine: our requests become vLLM's, one for each sequence, and what its steps make becomes
chunks.
"""

import logging
import math
import os
import select
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import msgspec

from tessera.core.generation import EngineInfo, Grammar, Prompt, Sampling, TokenChunk
from tessera.engine.host.frames import Gauges
from tessera.engine.vllm import api
from tessera.engine.vllm.arguments import check_exact, engine_arguments, environment
from tessera.engine.vllm.config import VllmOptions
from tessera.engine.vllm.cores import EngineCores
from tessera.engine.vllm.failures import FailureLog
from tessera.engine.vllm.fitting import check_fits
from tessera.engine.vllm.footprint import footprint
from tessera.engine.vllm.outputs import cached_tokens, finish_of, logprobs_of
from tessera.engine.vllm.sampling import sampling_fields
from tessera.engine.vllm.thinking import with_budget
from tessera.errors import (
    ContextLengthExceeded,
    GenerationFailed,
    StartupError,
    TesseraError,
    UnsupportedParameter,
)

_logger = logging.getLogger(__name__)

BuildRequest: TypeAlias = Callable[..., object]
"""Has the arguments of `api.build_request`."""


@dataclass(slots=True, eq=False)
class _VllmSequence:
    """One sequence of a request, as vLLM knows it."""

    request: int
    sequence: int
    n_logprobs: int | None
    constrained: bool
    cached_tokens: int = 0


class VllmCore:
    """A `Core` whose steps vLLM makes: `step` only takes what they have brought."""

    def __init__(
        self,
        served: EngineInfo,
        cores: EngineCores,
        *,
        n_blocks: int,
        drafts: bool,
        stall_s: float,
        build: BuildRequest = api.build_request,
    ) -> None:
        """`n_blocks` is the size of the KV cache; `drafts` says that tokens are drafted, which excludes some
        fields. Without a step for `stall_s`, the engine is taken for dead while it has requests. `build`
        makes vLLM's requests.
        """
        self._build = build
        self.info = served
        self._cores = cores
        self._n_blocks = n_blocks
        self._drafts = drafts
        self.stall_s = stall_s
        self._running: dict[str, _VllmSequence] = {}
        self._requests: dict[int, set[str]] = {}
        self._loads: dict[int, tuple[int, float]] = {}

    def fileno(self) -> int:
        return self._cores.fileno()

    @property
    def busy(self) -> bool:
        return self._cores.has_news or self._is_stalled

    @property
    def _is_stalled(self) -> bool:
        return bool(self._running) and self._cores.silent_s > self.stall_s

    def submit(self, request: int, prompt: Prompt, sampling: Sampling) -> None:
        if len(prompt.token_ids) >= self.info.context_tokens:
            raise ContextLengthExceeded("The prompt does not fit into the context of the engine.")
        # A grammar with a limit of tokens cannot take back drafts that were rejected.
        if self._drafts and (sampling.min_p or sampling.logit_bias or sampling.thinking_budget):
            raise UnsupportedParameter(
                "`min_p`, `logit_bias` and `thinking_token_budget` are not supported with speculative "
                "decoding."
            )
        grammar = prompt.grammar
        if sampling.thinking_budget is not None:
            grammar = with_budget(grammar, sampling.thinking_budget)
        made = [self._make(request, i, prompt, sampling, grammar) for i in range(sampling.n)]
        if not self._running:
            self._cores.touch()
        self._requests[request] = set()
        for id, running, asked in made:
            self._running[id] = running
            self._requests[request].add(id)
            self._cores.add(asked)

    def abort(self, request: int) -> None:
        ids = self._requests.pop(request, None)
        if ids:
            for id in ids:
                del self._running[id]
            self._cores.abort(sorted(ids))

    def step(self) -> list[tuple[int, TokenChunk | TesseraError]]:
        news: list[tuple[int, TokenChunk | TesseraError]] = []
        if self._is_stalled and not self._cores.has_news:
            raise RuntimeError(f"vLLM has made no step for {self.stall_s:g} s")
        for outputs in self._cores.take():
            if (stats := outputs.scheduler_stats) is not None:
                self._loads[outputs.engine_index] = (int(stats.num_waiting_reqs), float(stats.kv_cache_usage))
            for output in outputs.outputs:
                # An aborted sequence may have been in the step that was under way.
                if running := self._running.get(output.request_id):
                    news += self._read(running, output)
        return news

    def gauges(self) -> Gauges:
        """With `data_parallel_size`, sums over the replicas, which have as many blocks each."""
        n_running = len(self._running)
        n_waiting = min(sum(n for n, _ in self._loads.values()), n_running)
        usage = sum(share for _, share in self._loads.values()) / max(1, len(self._loads))
        n_used = round(usage * self._n_blocks) if n_running else 0
        return {
            "running": n_running - n_waiting,
            "waiting": n_waiting,
            "blocks_used": n_used,
            "blocks_total": self._n_blocks,
        }

    def _make(
        self, request: int, sequence: int, prompt: Prompt, sampling: Sampling, grammar: Grammar | None
    ) -> tuple[str, _VllmSequence, object]:
        fields = sampling_fields(sampling, sequence, self.info.vocabulary_size)
        id = f"{request}.{sequence}"
        asked = self._build(
            id,
            prompt.token_ids,
            fields,
            lark=grammar.lark if grammar else None,
            cache_salt=prompt.cache_salt.hex() or None,
            priority=-prompt.priority,
        )
        return id, _VllmSequence(request, sequence, sampling.top_logprobs, grammar is not None), asked

    def _read(
        self, running: _VllmSequence, output: api.Foreign
    ) -> list[tuple[int, TokenChunk | TesseraError]]:
        """The chunk that an output makes, or why its whole request has failed."""
        running.cached_tokens = running.cached_tokens or cached_tokens(output)
        try:
            finish = finish_of(output, constrained=running.constrained)
        except GenerationFailed as error:
            self.abort(running.request)
            return [(running.request, error)]
        token_ids = tuple(output.new_token_ids)
        if not token_ids and finish is None:
            return []
        if finish is not None:
            self._forget(output.request_id, running.request)
        logprobs = () if running.n_logprobs is None else logprobs_of(output, running.n_logprobs)
        chunk = TokenChunk(running.sequence, token_ids, finish, running.cached_tokens, logprobs)
        return [(running.request, chunk)]

    def _forget(self, id: str, request: int) -> None:
        del self._running[id]
        left = self._requests[request]
        left.discard(id)
        if not left:
            del self._requests[request]


def open_core(served: EngineInfo, options: Mapping[str, object]) -> VllmCore:
    """A `CoreFactory`; `options` are the fields of `VllmOptions`. Raises `StartupError` and `ModelError`."""
    config = msgspec.convert(options, VllmOptions)
    _warn_if_untested()
    on_processor = api.is_for_processors()
    os.environ.update(environment(config, on_processor=on_processor, n_cores=os.cpu_count() or 1))
    home = Path(config.home)
    home.mkdir(parents=True, exist_ok=True)
    failures = FailureLog(home, config.folder)
    os.environ["VLLM_LOGGING_CONFIG_PATH"] = str(failures.configuration)
    gpus = None if on_processor else api.accelerators()
    arguments = engine_arguments(config, served, gpus, api.argument_names())
    model = footprint(Path(config.folder))
    check_exact(config, on_processor=on_processor, recurrent=model.state_bytes > 0)
    check_fits(model, config, served, arguments, gpus)
    configuration = api.configuration(arguments)
    cores = EngineCores(lambda: api.open_client(configuration), failures)
    actual = replace(
        served,
        context_tokens=min(served.context_tokens, int(configuration.model_config.max_model_len)),
        vocabulary_size=int(configuration.model_config.get_vocab_size()),
    )
    core = VllmCore(
        actual,
        cores,
        n_blocks=int(configuration.cache_config.num_gpu_blocks or 1),
        drafts=configuration.speculative_config is not None,
        stall_s=math.inf,  # what is compiled at its first use may take longer than any later step
    )
    _warm(core)
    core.stall_s = config.stall_s
    return core


def _warn_if_untested() -> None:
    package, number = api.installed_version()
    if number != (tested := api.TESTED[package]):
        _logger.warning("%s %s was not tested with this Tessera; %s was", package, number, tested)


def _warm(core: VllmCore) -> None:
    """Makes a few tokens, so that what is compiled at its first use is there before the first request."""
    grammar = Grammar('start: "a" /[a-z]+/\n')
    stop = frozenset(core.info.eos_token_ids)
    sampling = Sampling(max_tokens=4, stop_token_ids=stop, top_logprobs=1, seed=1)
    core.submit(-1, Prompt((1, 2, 3, 4), grammar), sampling)
    finished = False
    while not finished:
        select.select([core], [], [])
        try:
            news = core.step()
        except RuntimeError as error:
            raise StartupError(f"vLLM could not generate its first tokens: {error}") from error
        for _, outcome in news:
            if isinstance(outcome, TesseraError):
                raise outcome
            finished = outcome.finish is not None
