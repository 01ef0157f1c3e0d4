"""The engine itself, synchronous: requests in, one forward pass per `step`, tokens out."""

import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tessera.core.generation import EngineFinish, Prompt, Sampling, TokenChunk
from tessera.engine.openvino.blocks import BLOCK_TOKENS, BlockPool
from tessera.engine.openvino.config import WorkerConfig
from tessera.engine.openvino.constraint import Constraint, Grammars, Masks
from tessera.engine.openvino.graph import PagedGraph, Span, padded
from tessera.engine.openvino.growth import force, grow
from tessera.engine.openvino.sampling import Sampler
from tessera.engine.openvino.scheduler import Scheduler
from tessera.engine.openvino.sequence import Sequence
from tessera.engine.openvino.speculation import DRAFT_TOKENS
from tessera.errors import GenerationFailed, StartupError
from tessera.text.hf import HfTokenizer

COMPILE_WAIT_S = 0.02
"""How long a step with nothing to compute waits for a grammar."""

WARM_ROWS = 16
"""Batches up to this size are ready when the engine is; larger ones follow while nothing is asked."""

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
        self._scheduler = Scheduler(
            pool,
            max_sequences=config.max_sequences,
            step_tokens=config.step_tokens,
            gap_s=config.step_gap_s,
        )
        self._pool = pool
        self._requests: dict[int, list[Sequence]] = {}
        self._outputs: list[Output] = []
        self._compiling: dict[int, Future[Constraint]] = {}
        self._arrivals = count()
        self.info = replace(
            config.served(),
            context_tokens=min(config.context_tokens, pool.n_blocks * BLOCK_TOKENS),
            vocabulary_size=self._graph.vocabulary_size,
        )
        self._masks = Masks(config.max_sequences, self._graph.vocabulary_size)
        tokenizer = HfTokenizer.from_file(Path(config.tokenizer_json))
        self._spell = tokenizer.token_bytes
        self._grammars = Grammars(tokenizer, self.info.eos_token_ids, self.info.vocabulary_size)
        self._cold = sorted({padded(1 + n) for n in range(config.max_sequences)}, reverse=True)
        self._warm_up(config.step_tokens)

    @property
    def busy(self) -> bool:
        """Whether `step` has work: requests, or kernels to make while there are none."""
        return bool(self._requests or self._outputs or self._cold)

    def submit(self, request: int, prompt: Prompt, sampling: Sampling) -> None:
        """Queue a request; its chunks, or its failure, come out of later steps."""
        if not 0 < len(prompt.token_ids) < self.info.context_tokens:
            self._outputs.append((request, f"{len(prompt.token_ids)} prompt tokens do not fit the context"))
            return
        sequence = self._sequence(request, prompt, sampling)
        self._requests[request] = [sequence]
        if prompt.grammar is None:
            force(sequence, self.info.context_tokens)
            self._scheduler.add(sequence)
        else:
            self._compiling[request] = self._grammars.constrain(prompt.grammar)

    def abort(self, request: int) -> None:
        """Drop a request and free its blocks; unknown ids are ignored."""
        sequences = self._requests.pop(request, [])
        if compiling := self._compiling.pop(request, None):
            compiling.cancel()
            return
        for sequence in sequences:
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
        self._start_compiled()
        planned = self._scheduler.plan()
        spans = [_span(sequence, n_tokens) for sequence, n_tokens in planned]
        sampled = [sequence for (sequence, _), span in zip(planned, spans, strict=True) if span.n_sampled]
        if spans:
            started_s = time.monotonic()
            self._graph.start(spans)
            masks = self._mask(sampled)
            logits = self._graph.logits()
            for sequence, n_tokens in planned:
                sequence.advance(n_tokens, self._pool)
            row = 0
            for sequence in sampled:
                rows, row = logits[row:], row + 1 + len(sequence.draft)
                self._outputs += self._extend(sequence, rows, masks.get(sequence))
            self._scheduler.measure(time.monotonic() - started_s)
        elif self._compiling and not self._outputs:
            wait(self._compiling.values(), COMPILE_WAIT_S, FIRST_COMPLETED)
        elif self._cold and not self._requests:
            self._warm_next()
        outputs, self._outputs = self._outputs, []
        return outputs

    def _start_compiled(self) -> None:
        """Queue the sequences whose grammars have become ready."""
        for request, compiling in list(self._compiling.items()):
            if not compiling.done():
                continue
            sequence = self._requests[request][0]
            try:
                sequence.constraint = compiling.result()
                force(sequence, self.info.context_tokens)
            except GenerationFailed as error:
                self._fail(request, error)
                continue
            del self._compiling[request]
            self._scheduler.add(sequence)

    def _mask(self, sampled: list[Sequence]) -> dict[Sequence, NDArray[np.uint32]]:
        """The masks of the constrained sequences; computed while the forward pass runs."""
        rows = {sequence: sequence.constraint for sequence in sampled if sequence.constraint}
        return dict(zip(rows, self._masks.fill(list(rows.values())), strict=True))

    def _fail(self, request: int, error: GenerationFailed) -> None:
        """End a whole request; others go on."""
        self.abort(request)
        self._outputs.append((request, error.message))

    def _extend(
        self, sequence: Sequence, logits: NDArray[np.float32], mask: NDArray[np.uint32] | None
    ) -> list[Output]:
        """Sample the next token of the sequence, and those of its siblings if the prompt is just done."""
        if sequence.request not in self._requests:
            return []  # a sibling failed earlier in this step
        try:
            siblings = [sequence, *self._fork(sequence)]
            return [(sibling.request, self._sample(sibling, logits, mask)) for sibling in siblings]
        except GenerationFailed as error:
            self._fail(sequence.request, error)
            return []

    def _sample(
        self, sequence: Sequence, logits: NDArray[np.float32], mask: NDArray[np.uint32] | None
    ) -> TokenChunk:
        """Extend by a token, and by one more for each guess that turns out to be what was sampled."""
        finish = self._choose(sequence, logits[0], mask)
        for row, guess in enumerate(sequence.draft, start=1):
            if finish or sequence.n_pending > 1 or sequence.tokens[-1] != guess:
                break
            sequence.advance(1, self._pool)
            finish = self._choose(sequence, logits[row], None)
        sequence.look_up()
        if finish:
            self._end(sequence)
        return sequence.report(finish)

    def _choose(
        self, sequence: Sequence, logits: NDArray[np.float32], mask: NDArray[np.uint32] | None
    ) -> EngineFinish | None:
        token = sequence.sampler.sample(logits, mask)
        if sequence.sampling.top_logprobs is not None:
            sequence.logprobs.append(sequence.sampler.logprob(logits, token))
        return grow(sequence, token, self.info.context_tokens)

    def _end(self, sequence: Sequence) -> None:
        self._scheduler.remove(sequence)
        siblings = self._requests[sequence.request]
        siblings.remove(sequence)
        if not siblings:
            del self._requests[sequence.request]

    def _fork(self, first: Sequence) -> list[Sequence]:
        """Make the other sequences of the request, once; those that can start now share the blocks."""
        started: list[Sequence] = []
        for index in range(1, first.n_siblings + 1):
            sibling = self._sibling(first, index)
            self._requests[first.request].append(sibling)
            if self._scheduler.has_room and self._share(first, sibling):
                self._scheduler.add_running(sibling)
                started.append(sibling)
            else:
                self._scheduler.add(sibling)
        first.n_siblings = 0
        return started

    def _share(self, first: Sequence, sibling: Sequence) -> bool:
        """Hold the full blocks of the prompt and copy the one that is not, if there is a block for that."""
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

    def _sequence(self, request: int, prompt: Prompt, sampling: Sampling) -> Sequence:
        return Sequence(
            request=request,
            index=0,
            tokens=list(prompt.token_ids),
            n_prompt=len(prompt.token_ids),
            salt=prompt.cache_salt,
            rank=(-prompt.priority, next(self._arrivals), 0),
            sampling=sampling,
            sampler=Sampler(sampling, 0, prompt.token_ids, self.info.vocabulary_size),
            spell=self._spell,
            thinking_left=sampling.thinking_budget and sampling.thinking_budget.n_tokens,
            n_siblings=sampling.n - 1,
        )

    def _sibling(self, first: Sequence, index: int) -> Sequence:
        """A sequence in the state that `first` is in, with its own random numbers."""
        prompt, forced = first.tokens[: first.n_prompt], first.tokens[first.n_prompt :]
        sampler = Sampler(first.sampling, index, prompt, self.info.vocabulary_size)
        for token_id in forced:
            sampler.accept(token_id)
        return Sequence(
            request=first.request,
            index=index,
            tokens=prompt + forced,
            n_prompt=first.n_prompt,
            salt=first.salt,
            rank=(*first.rank[:2], index),
            sampling=first.sampling,
            sampler=sampler,
            spell=self._spell,
            constraint=first.constraint and first.constraint.copy(),
            thinking_left=first.thinking_left,
            logprobs=[*first.logprobs],
        )

    def _warm_up(self, step_tokens: int) -> None:
        """Make the kernels of prompts, drafts and small batches, so that no request pays for them."""
        if self._graph.n_blocks * BLOCK_TOKENS < step_tokens:
            raise StartupError(
                f"kv_cache_bytes holds {self._graph.n_blocks} blocks of {self._graph.block_bytes} bytes,"
                f" too few for a step of {step_tokens} tokens. Set it higher."
            )
        chunk = Span([0] * step_tokens, 0, range(-(-step_tokens // BLOCK_TOKENS)), n_sampled=1)
        draft = Span([0] * (1 + DRAFT_TOKENS), 0, range(1), n_sampled=1 + DRAFT_TOKENS)
        for span in (chunk, draft):
            self._graph.start([span])
            self._graph.logits()
        while self._cold and self._cold[-1] <= WARM_ROWS:
            self._warm_next()

    def _warm_next(self) -> None:
        """Make the kernels of the next larger batch."""
        self._graph.warm(self._cold.pop())


def _span(sequence: Sequence, n_tokens: int) -> Span:
    start, end = sequence.n_computed, sequence.n_computed + n_tokens
    token_ids = sequence.tokens[start:end] + sequence.draft
    n_sampled = 1 + len(sequence.draft) if end == len(sequence.tokens) else 0
    return Span(token_ids, start, sequence.blocks, n_sampled)
