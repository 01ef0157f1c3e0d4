"""The part of docs/*/clients.md that a run writes: what each client could do, and how it shows errors."""

from collections.abc import Iterable, Sequence

from tests.clients.table import CHECKS, ERRORS, ROOT
from tests.clients.trying import Check, Result

BEGIN, END = "<!-- begin: python -m tests.clients --write -->", "<!-- end -->"
LANGUAGES = ("en", "es")

HEADS = {
    "en": "client|version|reply|stream|tools|several calls|structured|reasoning|usage|cancel|real model",
    "es": "cliente|versión|respuesta|streaming|herramientas|varias llamadas|salida estructurada|razonamiento"
    "|uso|cancelar|modelo real",
}
DROPPED = {"en": "dropped", "es": "se pierde"}
YES, NO, NOT_TRIED = "✓", "✗", "–"


def row(result: Result, language: str) -> str:
    """The row of the table: what the client could do."""
    cells = [result.client.title, result.client.version]
    for name in CHECKS:
        check = result.checks.get(name)
        if check is None:
            cells.append(NOT_TRIED)
        elif check.ok and check.shown == "dropped":
            cells.append(DROPPED[language])
        else:
            cells.append(YES if check.ok else NO)
    return _line(cells)


def errors_row(result: Result) -> str:
    """The row of the table: the client's classes of errors."""
    return _line([result.client.title, *(_error(result.checks.get(status)) for status in ERRORS)])


def _error(check: Check | None) -> str:
    if check is None:
        return NOT_TRIED
    if not check.ok:
        return NO
    return f"`{check.shown}`" if check.shown else YES


def generated(results: Iterable[Result], language: str) -> str:
    """Both tables of the page."""
    results = list(results)
    heads = HEADS[language].split("|")
    tables = [
        [_line(heads), _rule(heads), *(row(result, language) for result in results)],
        [_line([heads[0], *ERRORS]), _rule([heads[0], *ERRORS]), *map(errors_row, results)],
    ]
    return "\n\n".join("\n".join(table) for table in tables)


def write(results: Iterable[Result]) -> None:
    results = list(results)
    for language in LANGUAGES:
        page = ROOT / "docs" / language / "clients.md"
        before, _, rest = page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        page.write_text(f"{before}{BEGIN}\n\n{generated(results, language)}\n\n{END}{after}")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(cells: Sequence[str]) -> str:
    return "|---" * len(cells) + "|"
