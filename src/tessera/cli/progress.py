"""Progress of long work on standard error: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tessera.models.progress import Report


class TerminalProgress:
    """A `Progress` on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, text: str, total_bytes: int | None = None) -> Generator[Report]:
        """Show a bar or a spinner until the work is done, then print how long it took."""
        begun = time.monotonic()
        if self._console.is_terminal:
            with self._bar(total_bytes) as bar:
                task = bar.add_task(text, total=total_bytes)
                yield lambda done: bar.update(task, completed=min(done, total_bytes or done))
        else:
            self.note(f"{text} …")
            yield lambda done: None
        self.note(f"{text}: done in {time.monotonic() - begun:.1f} s")

    def _bar(self, total_bytes: int | None) -> Progress:
        size = (BarColumn(), DownloadColumn()) if total_bytes else ()
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            *size,
            TimeElapsedColumn(),
        )
        return Progress(*columns, console=self._console, transient=True)
