"""The engine itself, synchronous: requests in, one forward pass per `step`, tokens out."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tessera.core.generation import EngineFinish, Prompt, Sampling, TokenChunk, TokenLogprob
from tessera.engine.openvino.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.openvino.config import WorkerConfig
from tessera.engine.openvino.graph import PagedGraph, Span
from tessera.engine.openvino.sampling import Sampler
from tessera.engine.openvino.scheduler import Scheduler
from tessera.engine.openvino.sequence import Sequence
from tessera.errors import GenerationFailed, StartupError

Output = tuple[int, TokenChunk | str]
"""A request's id and what a step added to it; a text says why the request failed."""


class EngineCore:
    """Loads, compiles and warms up on construction (seconds); then single-threaded and never waiting."""

    def __init__(self, config: WorkerConfig) -> None:
        self._graph = PagedGraph(
            Path(config.model_xml),
            precision=config.precision,
            threads=config.threads,
            kv_cache_bytes=config.kv_cache_bytes,
        )
        pool = BlockPool(self._graph.n_blocks)
        self._scheduler = Scheduler(pool, max_sequences=config.max_sequences, step_tokens=config.step_tokens)
        self._pool = pool
        self._requests: dict[int, list[Sequence]] = {}
        self._failed: list[Output] = []
        self._arrivals = count()
        self.info = replace(
            config.served(),
            context_tokens=min(config.context_tokens, pool.n_blocks * BLOCK_TOKENS),
            vocabulary_size=self._graph.vocabulary_size,
        )
        self._warm_up(config.max_sequences, config.step_tokens)

    @property
    def busy(self) -> bool:
        """Whether `step` has work."""
        return bool(self._requests or self._failed)

    def submit(self, request: int, prompt: Prompt, sampling: Sampling) -> None:
        """Queue a request; its chunks, or its failure, come out of later steps."""
        if not 0 < len(prompt.token_ids) < self.info.context_tokens:
            self._failed.append((request, f"{len(prompt.token_ids)} prompt tokens do not fit the context"))
            return
        sequence = self._sequence(request, 0, prompt, sampling, next(self._arrivals))
        self._requests[request] = [sequence]
        self._scheduler.add(sequence)

    def abort(self, request: int) -> None:
        """Drop a request and free its blocks; unknown ids are ignored."""
        for sequence in self._requests.pop(request, ()):
            self._scheduler.remove(sequence)

    def gauges(self) -> dict[str, int]:
        """Sequences running and waiting; blocks held, kept for reuse, and in all."""
        return {
            "running": len(self._scheduler.running),
            "waiting": len(self._scheduler.waiting),
            "blocks_used": self._pool.n_held,
            "blocks_cached": self._pool.n_kept,
            "blocks_total": self._pool.n_blocks,
        }

    def step(self) -> list[Output]:
        """One forward pass over all sequences of the plan; what it added."""
        outputs, self._failed = self._failed, []
        planned = self._scheduler.plan()
        if not planned:
            return outputs
        spans = [_span(sequence, n_tokens) for sequence, n_tokens in planned]
        rows = iter(self._graph.run(spans))
        for (sequence, n_tokens), span in zip(planned, spans, strict=True):
            sequence.advance(n_tokens, self._pool)
            if span.sampled:
                outputs += self._extend(sequence, next(rows))
        return outputs

    def _fail(self, sequence: Sequence, reason: str) -> list[Output]:
        """End a whole request because of one of its sequences; other requests go on."""
        self.abort(sequence.request)
        return [(sequence.request, reason)]

    def _extend(self, sequence: Sequence, logits: NDArray[np.float32]) -> list[Output]:
        """Sample the next token of the sequence, and the first ones of its siblings if the prompt is just
        done.
        """
        if sequence.request not in self._requests:
            return []  # a sibling failed earlier in this step
        siblings = [sequence]
        if sequence.n_output == 0 and sequence.index == 0:
            siblings += self._fork(sequence)
        try:
            return [(sequence.request, self._sample(sibling, logits)) for sibling in siblings]
        except GenerationFailed as error:
            return self._fail(sequence, error.message)

    def _sample(self, sequence: Sequence, logits: NDArray[np.float32]) -> TokenChunk:
        sampling, sampler = sequence.sampling, sequence.sampler
        token = sampler.sample(logits)
        sampler.accept(token)
        sequence.tokens.append(token)
        logprobs: tuple[TokenLogprob, ...] = ()
        if sampling.top_logprobs is not None:
            logprobs = (sampler.logprob(logits, token),)
        finish = self._finish(sequence, token)
        chunk = TokenChunk(sequence.index, (token,), finish, sequence.n_cached, logprobs)
        if finish:
            self._end(sequence)
        return chunk

    def _finish(self, sequence: Sequence, token: int) -> EngineFinish | None:
        if token in sequence.sampling.stop_token_ids:
            return "stop"
        full = len(sequence.tokens) >= self.info.context_tokens
        return "length" if full or sequence.n_output >= sequence.sampling.max_tokens else None

    def _end(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        siblings = self._requests[sequence.request]
        siblings.remove(sequence)
        if not siblings:
            del self._requests[sequence.request]

    def _fork(self, first: Sequence) -> list[Sequence]:
        """Make the other sequences of the request; those that can start now share the prompt's blocks."""
        started: list[Sequence] = []
        for index in range(1, first.sampling.n):
            prompt = Prompt(tuple(first.tokens), cache_salt=first.salt, priority=-first.rank[0])
            sibling = self._sequence(first.request, index, prompt, first.sampling, first.rank[1])
            self._requests[first.request].append(sibling)
            if self._scheduler.has_room and self._share(first, sibling):
                self._scheduler.add_running(sibling)
                started.append(sibling)
            else:
                self._scheduler.add(sibling)
        return started

    def _share(self, first: Sequence, sibling: Sequence) -> bool:
        """Hold the full blocks of the prompt and copy the one that is not; False if no block is left for
        that.
        """
        n_full = first.n_computed // BLOCK_TOKENS
        partial = self._pool.take(len(first.blocks) - n_full)
        if partial is None:
            return False
        for source, target in zip(first.blocks[n_full:], partial, strict=True):
            self._graph.copy_block(source, target)
        for block in first.blocks[:n_full]:
            self._pool.hold(block)
        sibling.blocks += first.blocks[:n_full] + partial
        sibling.keys += first.keys
        sibling.n_computed, sibling.n_cached = first.n_computed, first.n_cached
        return True

    def _sequence(
        self, request: int, index: int, prompt: Prompt, sampling: Sampling, arrival: int
    ) -> Sequence:
        sampler = Sampler(sampling, index, prompt.token_ids, self.info.vocabulary_size)
        return Sequence(
            request=request,
            index=index,
            tokens=list(prompt.token_ids),
            n_prompt=len(prompt.token_ids),
            salt=prompt.cache_salt,
            rank=(-prompt.priority, arrival, index),
            sampling=sampling,
            sampler=sampler,
        )

    def _warm_up(self, max_sequences: int, step_tokens: int) -> None:
        """Make the kernels of every batch size, so that no request pays for them. Needs a cache, keeps
        nothing.
        """
        if self._graph.n_blocks * BLOCK_TOKENS < step_tokens:
            raise StartupError(
                f"kv_cache_bytes holds {self._graph.n_blocks} blocks of {self._graph.block_bytes} bytes,"
                f" too few for a step of {step_tokens} tokens. Set it higher."
            )
        chunk_blocks = list(range(-(-step_tokens // BLOCK_TOKENS)))
        self._graph.run([Span([0] * step_tokens, 0, chunk_blocks, sampled=True)])
        for n_rows in range(1, max_sequences + 1):
            self._graph.run([Span([0], 0, [0], sampled=True)] * n_rows)


def _span(sequence: Sequence, n_tokens: int) -> Span:
    start, end = sequence.n_computed, sequence.n_computed + n_tokens
    return Span(sequence.tokens[start:end], start, sequence.blocks, sampled=end == len(sequence.tokens))
