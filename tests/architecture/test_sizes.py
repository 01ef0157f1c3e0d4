"""Modules and functions stay short enough to be read in one go."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "tessera"
# A migration is a list of columns, not code that is read for its flow.
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.parent.name != "versions")

MODULE_BUDGET, MODULE_LIMIT = 250, 400
FUNCTION_BUDGET, FUNCTION_LIMIT = 40, 60
MODULES_OVER_BUDGET, FUNCTIONS_OVER_BUDGET = 4, 4


def module_lengths() -> dict[str, int]:
    return {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path in MODULES}


def function_lengths() -> Iterator[tuple[str, int]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                yield f"{path.relative_to(SOURCE)}:{node.name}", node.end_lineno - node.lineno + 1


def test_no_module_is_over_the_limit() -> None:
    assert {name: n for name, n in module_lengths().items() if n > MODULE_LIMIT} == {}


def test_few_modules_are_over_the_budget() -> None:
    over = {name: n for name, n in module_lengths().items() if n > MODULE_BUDGET}
    assert len(over) <= MODULES_OVER_BUDGET, over


def test_no_function_is_over_the_limit() -> None:
    assert {name: n for name, n in function_lengths() if n > FUNCTION_LIMIT} == {}


def test_few_functions_are_over_the_budget() -> None:
    over = {name: n for name, n in function_lengths() if n > FUNCTION_BUDGET}
    assert len(over) <= FUNCTIONS_OVER_BUDGET, over
