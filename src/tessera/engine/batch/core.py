"""What our own cores share: requests in, one forward pass per `step`, tokens out. Synchronous.

A concrete engine is a `Forward`: it computes passes, copies blocks, and may use idle time.
"""

import time
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from itertools import count
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tessera.core.generation import EngineFinish, EngineInfo, Prompt, Sampling, TokenChunk
from tessera.engine.batch.blocks import BLOCK_TOKENS
from tessera.engine.batch.constraint import GrammarCompiler
from tessera.engine.batch.following import GrammarFollower
from tessera.engine.batch.forward import Forward, Planned, SequencesFailed
from tessera.engine.batch.growth import grow
from tessera.engine.batch.masks import Clock, Compute, Masks, compute_mask
from tessera.engine.batch.memory import Measure, Memory, heap_bytes
from tessera.engine.batch.sampling import Sampler
from tessera.engine.batch.scheduler import Scheduler
from tessera.engine.batch.sequence import TokenSequence
from tessera.engine.batch.siblings import make_sibling
from tessera.errors import ContextLengthExceeded, GenerationFailed, GrammarFailed, TesseraError
from tessera.text.tokenizer import Tokenizer

IDLE_WAIT_S = 0.02
"""How long a step with nothing to compute waits for a grammar."""

Output: TypeAlias = tuple[int, TokenChunk | TesseraError]
"""A request's id and what a step added to it, or why the request failed."""


class BatchCore:
    """A `Core` with continuous batching, prefix caching, grammars and drafts."""

    def __init__(
        self,
        served: EngineInfo,
        forward: Forward,
        tokenizer: Tokenizer,
        *,
        step_tokens: int,
        step_gap_s: float,
        grammar_bytes: int,
        all_reproducible: bool = False,
        compute: Compute = compute_mask,
        clock: Clock = time.thread_time,
        measure: Measure = heap_bytes,
    ) -> None:
        """The output of a sequence with a seed does not depend on the others of its passes; with
        `all_reproducible`, that of no sequence does.

        `step_tokens` and `step_gap_s` are those of `Scheduler`; `grammar_bytes` bounds the memory of compiled
        grammars; `compute` and `clock` are those of `Masks`, `measure` is that of `Memory`.
        """
        self._forward = forward
        pool = forward.pool
        self._scheduler = Scheduler(
            pool,
            max_sequences=served.max_sequences,
            step_tokens=step_tokens,
            gap_s=step_gap_s,
        )
        self._pool = pool
        self._all_reproducible = all_reproducible
        self._requests: dict[int, list[TokenSequence]] = {}
        self._outputs: list[Output] = []
        self._arrivals = count()
        self.info = replace(
            served,
            context_tokens=min(served.context_tokens, pool.n_blocks * BLOCK_TOKENS),
            vocabulary_size=forward.vocabulary_size,
        )
        self._sampled: list[tuple[TokenSequence, EngineFinish | None]] = []
        self._spell = tokenizer.token_bytes
        self._grammars = GrammarCompiler(
            tokenizer,
            self.info.eos_token_ids,
            self.info.vocabulary_size,
            most_bytes=grammar_bytes,
        )
        self._memory = Memory(self._grammars, grammar_bytes, measure)
        masks = Masks(forward.vocabulary_size, compute=compute, clock=clock)
        self._follower = GrammarFollower(self._grammars, masks, self.info.context_tokens)
        self._is_warm = False

    @property
    def busy(self) -> bool:
        """Whether `step` has work: requests, or something to prepare while there are none."""
        return bool(self._requests or self._outputs or not self._is_warm)

    def submit(self, request: int, prompt: Prompt, sampling: Sampling) -> None:
        """Queues a request; later steps return its chunks, or its failure.

        Raises `ContextLengthExceeded` for a prompt that the service took because the engine, while it was
        starting, was expected to have more room.
        """
        if not 0 < len(prompt.token_ids) < self.info.context_tokens:
            raise ContextLengthExceeded(
                f"The prompt has {len(prompt.token_ids)} tokens, and the engine has room for fewer than "
                f"{self.info.context_tokens}.",
                param="messages",
            )
        sequence = self._sequence(request, prompt, sampling)
        self._requests[request] = [sequence]
        if prompt.grammar is None:
            self._queue(sequence)
        else:
            self._follower.compile(request, prompt.grammar, prompt.cache_salt)

    def abort(self, request: int) -> None:
        """Drops a request and frees its blocks; unknown ids are ignored."""
        sequences = self._requests.pop(request, [])
        if self._follower.cancel(request):
            return
        for sequence in sequences:
            self._scheduler.remove(sequence)
            if sequence.constraint:
                sequence.constraint.cancel()

    def gauges(self) -> dict[str, int]:
        """Sequences running and waiting; blocks held, kept for reuse, and in all; memory, in bytes."""
        memory = self._memory
        return {
            "running": len(self._scheduler.running),
            "waiting": len(self._scheduler.waiting),
            "blocks_used": self._pool.n_held,
            "blocks_cached": self._pool.n_kept,
            "blocks_total": self._pool.n_blocks,
            "cache_bytes": self._pool.n_touched * self._forward.block_bytes,
            "kernel_bytes": memory.kernel_bytes,
            "grammar_bytes": memory.grammar_bytes,
            "grammars_kept": self._grammars.n_kept,
            **({} if memory.resident_bytes is None else {"resident_bytes": memory.resident_bytes}),
        }

    def step(self) -> list[Output]:
        """Runs one forward pass over all sequences of the plan; returns what it added."""
        self._start_compiled()
        self._force_followed()
        if planned := self._scheduler.plan():
            started_s = time.monotonic()
            self._compute(planned)
            self._scheduler.measure(time.monotonic() - started_s)
        elif not self._outputs and (pending := self._follower.pending(self._alive())):
            wait(pending, IDLE_WAIT_S, FIRST_COMPLETED)
        elif not self._requests:
            self._is_warm = not self._forward.warm(self._memory)
        self._sample_held()
        self._bound_memory()
        self._report()
        outputs, self._outputs = self._outputs, []
        return outputs

    def _compute(self, planned: Planned) -> None:
        """Runs the model, and samples where the grammar is ready."""
        failure: SequencesFailed | None = None
        try:
            logits = self._forward.compute(planned, self._memory)
        except SequencesFailed as error:
            failure, logits = error, error.logits
            planned = [each for each in planned if each[0] not in error.failed]
        for sequence, n_tokens in planned:
            sequence.advance(n_tokens, self._pool)
        sampled = [sequence for sequence, _ in planned if not sequence.n_pending]
        self._follower.wait_for_masks(sampled)
        row = 0
        for sequence in sampled:
            rows, row = logits[row:], row + 1 + len(sequence.draft)
            if sequence.may_sample:
                self._extend(sequence, rows)
            else:
                sequence.held = rows[0].copy()
        if failure:
            error = GenerationFailed(f"The engine failed: {failure.reason}")
            for request in dict.fromkeys(sequence.request for sequence in failure.failed):
                if request in self._requests:
                    self._fail(request, error)

    def _queue(self, sequence: TokenSequence) -> None:
        """Queues a sequence, with what its grammar or its budget forces at the beginning."""
        self._follower.follow(sequence)
        self._scheduler.add(sequence)

    def _start_compiled(self) -> None:
        """Queues the sequences whose grammars have become ready."""
        for request, compiled in self._follower.compiled():
            (sequence,) = self._requests[request]
            if isinstance(compiled, GrammarFailed):
                del self._requests[request]
                self._outputs.append((request, compiled))
            else:
                sequence.constraint = compiled
                self._queue(sequence)

    def _alive(self) -> list[TokenSequence]:
        return [*self._scheduler.running, *self._scheduler.waiting]

    def _force_followed(self) -> None:
        for sequence in self._alive():
            # The failure of a sibling may have ended the request just now.
            if sequence.request in self._requests and (error := self._follower.force(sequence)):
                self._fail(sequence.request, error)

    def _sample_held(self) -> None:
        """Samples for the sequences whose masks have become ready since their logits were computed."""
        for sequence in list(self._scheduler.running):
            held = sequence.held
            if held is not None and sequence.may_sample:
                sequence.held = None
                self._extend(sequence, held[None])

    def _report(self) -> None:
        """Puts what was sampled into the outputs, with what is forced after it if that is soon known."""
        self._follower.wait_for_forced(sequence for sequence, _ in self._sampled)
        self._force_followed()
        self._outputs += [(sequence.request, sequence.report(finish)) for sequence, finish in self._sampled]
        self._sampled.clear()

    def _bound_memory(self) -> None:
        """Ends a request with a slow grammar if all grammars together take more memory than they may."""
        if not self._memory.is_due():
            return
        efforts = {
            each.constraint.effort: each.request for each in self._alive() if each.constraint is not None
        }
        if ended := self._memory.look(efforts):
            message = "The grammars of all requests need more memory than there is for them. Try again."
            self._fail(
                next(id for effort, id in efforts.items() if effort is ended), GenerationFailed(message)
            )

    def _fail(self, request: int, error: TesseraError) -> None:
        """Ends a whole request; others go on."""
        self.abort(request)
        self._sampled = [each for each in self._sampled if each[0].request != request]
        self._outputs.append((request, error))

    def _extend(self, sequence: TokenSequence, logits: NDArray[np.float32]) -> None:
        """Samples the next token of the sequence, and of its siblings if the prompt was just completed."""
        if sequence.request not in self._requests:
            return  # a sibling failed earlier in this step
        try:
            mask = sequence.constraint and sequence.constraint.take_mask()
            for sibling in (sequence, *self._fork(sequence)):
                self._sampled.append((sibling, self._sample(sibling, logits, mask)))
        except (GenerationFailed, GrammarFailed) as error:
            self._fail(sequence.request, error)

    def _sample(
        self, sequence: TokenSequence, logits: NDArray[np.float32], mask: NDArray[np.uint32] | None
    ) -> EngineFinish | None:
        """Extends by a token, and by one more for each guess that equals what was sampled."""
        finish = self._choose(sequence, logits[0], mask)
        for row, guess in enumerate(sequence.draft, start=1):
            if finish or sequence.n_pending > 1 or sequence.tokens[-1] != guess:
                break
            sequence.advance(1, self._pool)
            finish = self._choose(sequence, logits[row], None)
        sequence.look_up(self._forward.draft_cost)
        if finish:
            self._end(sequence)
        return finish

    def _choose(
        self, sequence: TokenSequence, logits: NDArray[np.float32], mask: NDArray[np.uint32] | None
    ) -> EngineFinish | None:
        token = sequence.sampler.sample(logits, mask)
        if sequence.sampling.top_logprobs is not None:
            sequence.logprobs.append(sequence.sampler.logprob(logits, token))
        finish = grow(sequence, token, self.info.context_tokens)
        if not finish:
            self._follower.follow(sequence, token)
        return finish

    def _end(self, sequence: TokenSequence) -> None:
        self._scheduler.remove(sequence)
        siblings = self._requests[sequence.request]
        siblings.remove(sequence)
        if not siblings:
            del self._requests[sequence.request]

    def _fork(self, first: TokenSequence) -> list[TokenSequence]:
        """Makes the other sequences of the request, once; returns those that start now and share blocks."""
        started: list[TokenSequence] = []
        for index in range(1, first.n_siblings + 1):
            sibling = make_sibling(first, index, self.info.vocabulary_size)
            self._requests[first.request].append(sibling)
            if self._scheduler.has_room and self._forward.share(first, sibling, self._pool):
                self._scheduler.add_running(sibling)
                started.append(sibling)
            else:
                self._scheduler.add(sibling)
        first.n_siblings = 0
        return started

    def _sequence(self, request: int, prompt: Prompt, sampling: Sampling) -> TokenSequence:
        return TokenSequence(
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
            reproducible=sampling.seed is not None or self._all_reproducible,
        )
