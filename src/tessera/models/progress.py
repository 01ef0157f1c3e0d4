"""How the progress of long work is reported."""

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeAlias

Report: TypeAlias = Callable[[int], None]
"""Called with the number of bytes that are done so far."""

_LOOK_EVERY_S = 0.1


class Progress(Protocol):
    """Shows the progress of long work; the command line implements it."""

    def note(self, text: str) -> None:
        """Reports something that is worth a line."""
        ...

    def stage(self, text: str, total_bytes: int | None = None) -> AbstractContextManager[Report]:
        """Work that lasts as long as the context; `total_bytes` is None if it is not known."""
        ...


class Quiet:
    """Shows nothing."""

    def note(self, text: str) -> None:
        """Ignores it."""

    @contextmanager
    def stage(self, text: str, total_bytes: int | None = None) -> Generator[Report]:
        yield lambda done: None


@contextmanager
def watching(measure: Callable[[], int], report: Report) -> Generator[None]:
    """Reports `measure()` ten times a second while other code does the work."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_EVERY_S):
            report(measure())

    thread = threading.Thread(target=look, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
