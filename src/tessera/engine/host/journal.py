"""What an engine's process reports of its work: totals, and a log line when a generation begins or ends.

No content is logged.
"""

import logging
import time
from dataclasses import dataclass, field

from tessera.core.generation import Prompt, Sampling, TokenChunk
from tessera.engine.host.frames import Gauges
from tessera.observe.logs import log

_logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class GenerationRecord:
    """One generation. `first_step` is that of its first chunk, None before."""

    trace_id: str
    n_prompt: int
    n_unfinished: int
    submitted_s: float = field(default_factory=time.monotonic)
    first_step: int | None = None
    n_tokens: int = 0


class Journal:
    """Counts since the process began, and logs each generation under its trace id."""

    def __init__(self) -> None:
        self.n_steps = 0
        self._prefix_queries = 0
        self._prefix_hits = 0

    def totals(self) -> Gauges:
        """The number of steps, of prompt tokens that have begun, and of those of them that were cached."""
        return {
            "n_steps": self.n_steps,
            "prefix_queries": self._prefix_queries,
            "prefix_hits": self._prefix_hits,
        }

    def open(self, prompt: Prompt, sampling: Sampling) -> GenerationRecord:
        """The entry of a generation that is submitted."""
        return GenerationRecord(prompt.trace_id, len(prompt.token_ids), sampling.n)

    def add(self, entry: GenerationRecord, chunk: TokenChunk) -> None:
        """Counts what a step has added."""
        if entry.first_step is None:
            self._begin(entry, chunk.cached_tokens)
        entry.n_tokens += len(chunk.token_ids)
        if chunk.finish:
            entry.n_unfinished -= 1
            if not entry.n_unfinished:
                self._end(entry, chunk.finish)

    def abort(self, entry: GenerationRecord) -> None:
        """Ends the entry of a generation that its client no longer wants."""
        self._end(entry, "aborted")

    def fail(self, entry: GenerationRecord) -> None:
        """Ends the entry of a generation that failed."""
        log(_logger, "warning", "generation failed", **self._course(entry))

    def _begin(self, entry: GenerationRecord, n_cached: int) -> None:
        entry.first_step = self.n_steps
        self._prefix_queries += entry.n_prompt
        self._prefix_hits += n_cached
        log(
            _logger,
            "debug",
            "generation begun",
            trace_id=entry.trace_id,
            prompt_tokens=entry.n_prompt,
            cached_tokens=n_cached,
            waited_s=_since(entry.submitted_s),
        )

    def _end(self, entry: GenerationRecord, finish: str) -> None:
        log(_logger, "debug", "generation ended", **self._course(entry), finish=finish)

    def _course(self, entry: GenerationRecord) -> dict[str, str | int | float]:
        n_steps = 0 if entry.first_step is None else self.n_steps - entry.first_step + 1
        return {
            "trace_id": entry.trace_id,
            "tokens": entry.n_tokens,
            "steps": n_steps,
            "duration_s": _since(entry.submitted_s),
        }


def _since(instant: float) -> float:
    return round(time.monotonic() - instant, 4)
