"""A benchmark on the terminal: its progress, and a table of its figures."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from tessera.bench.figures import Figure, Measures, Spread, first_token, ratio
from tessera.bench.plan import Findings, Workload
from tessera.bench.plot import plot
from tessera.bench.report import Setting, main_of, report

_LEGEND = "Medians over the rounds; times are p50 / p90 / p99. Tokens: of a reply, the median."


class RoundsProgress:
    """A bar with the remaining time on standard error; if that is no terminal, a line for each round."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=2,  # it shares the cores with what is measured
            disable=not self._console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task("Measuring", total=None)

    def __enter__(self) -> "RoundsProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def expect(self, n_rounds: int) -> None:
        self._bar.update(self._task, total=n_rounds)

    def begin(self, text: str) -> None:
        self._bar.update(self._task, description=text)

    def advance(self, n_rounds: float) -> None:
        self._bar.advance(self._task, n_rounds)

    def note(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def publish(
    plan: Workload, setting: Setting, findings: Findings, json_file: Path | None, svg_file: Path | None
) -> None:
    """Print the table, as Markdown if the output is no terminal, and write the files that are asked for."""
    figures = findings.figures
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 400
    if not figures:
        console.print("Nothing was measured.")
    else:
        console.print(_table(figures, setting.main, box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN))
        console.print(_LEGEND, style="dim")
    for refusal in findings.refusals:
        console.print(f"{refusal.server} does not do {refusal.shape}: {refusal.message}", markup=False)
    console.print(f"--seed {plan.seed}", style="dim")
    if json_file:
        json_file.write_bytes(report(plan, setting, figures, findings.refusals))
    if svg_file and figures:
        svg_file.write_text(plot(figures))


def _table(figures: Sequence[Figure], main: str | None, borders: box.Box) -> Table:
    compared = any(figure.server != main for figure in figures)
    table = Table(box=borders)
    for heading in ("shape", "server"):
        table.add_column(heading)
    numbers = ("streams", "tokens/s", "first token, ms", "per token, ms", "gap p99, ms", "total, s")
    for heading in (*numbers, "requests/s", "tokens"):
        table.add_column(heading, justify="right")
    if compared:
        table.add_column(f"{main} ÷ it: tokens/s", justify="right")
        table.add_column("first token", justify="right")
    table.add_column("errors")
    for figure in figures:
        table.add_row(*_row(figure, main_of(figure, figures, main), compared=compared))
    return table


def _row(figure: Figure, main: Figure | None, *, compared: bool) -> list[str]:
    measures = figure.measures
    ratios = [_ratio(main, figure, lambda each: each.tokens_per_s), _ratio(main, figure, first_token)]
    gaps = measures.gap_s
    errors = [f"{n} × {reason}" for reason, n in measures.errors.items()]
    counted = {"usage": "", "events": " (events)", "both": " (partly events)", None: ""}[measures.counted_by]
    return [
        figure.shape,
        figure.server,
        str(figure.n_streams),
        f"{measures.tokens_per_s:,.1f}",
        _spread(measures.ttft_s, 1e3),
        _spread(measures.tpot_s, 1e3),
        _number(gaps.p99 * 1e3) if gaps else "",
        _spread(measures.total_s, 1),
        _number(measures.requests_per_s),
        f"{measures.tokens_per_reply}{counted}",
        *(ratios if compared else []),
        ", ".join(errors),
    ]


def _ratio(main: Figure | None, other: Figure, of: Callable[[Measures], float | None]) -> str:
    value = ratio(main, other, of) if main else None
    return "" if value is None else f"{value:.2f}"


def _spread(spread: Spread | None, scale: float) -> str:
    if spread is None:
        return ""
    return " / ".join(_number(value * scale) for value in (spread.p50, spread.p90, spread.p99))


def _number(value: float) -> str:
    """With three significant digits."""
    n_digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:,.{min(max(n_digits, 0), 3)}f}"
