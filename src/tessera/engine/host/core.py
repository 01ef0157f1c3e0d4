"""What computes in an engine's process."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Protocol, TypeAlias, runtime_checkable

from tessera.core.generation import EngineInfo, Prompt, Sampling, TokenChunk
from tessera.engine.host.frames import Gauges, Start
from tessera.errors import TesseraError


class Core(Protocol):
    """A synchronous engine. The worker calls every method from one thread."""

    @property
    def info(self) -> EngineInfo:
        """What is served."""
        ...

    @property
    def busy(self) -> bool:
        """Whether `step` has anything to do."""
        ...

    def submit(self, request: int, prompt: Prompt, sampling: Sampling) -> None:
        """Begins a generation; an exception refuses this one alone."""
        ...

    def abort(self, request: int) -> None:
        """Ends a generation, of which no later step reports anything; unknown ids are ignored."""
        ...

    def step(self) -> list[tuple[int, TokenChunk | TesseraError]]:
        """Runs one forward pass; returns what it added, by request, or why that request failed. An exception
        ends the process.
        """
        ...

    def gauges(self) -> Gauges:
        """How full the engine is."""
        ...


@runtime_checkable
class SteppedElsewhere(Protocol):
    """What a `Core` has beside its own methods if another process or thread makes its steps.

    Its `busy` says whether `step` has results to return. It is read after every message and at every ping of
    the process's owner, so it can also notice that steps fail to come.
    """

    def fileno(self) -> int:
        """A descriptor that can be read while there are results."""
        ...


CoreFactory: TypeAlias = Callable[[EngineInfo, Mapping[str, object]], Core]
"""Makes a core of what it is expected to serve and of its engine's options; may take minutes."""


def make_core(start: Start) -> Core:
    """The core that the frame describes."""
    module, _, name = start.factory.partition(":")
    factory: CoreFactory = getattr(import_module(module), name)
    return factory(start.served, start.options)
