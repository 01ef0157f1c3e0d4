"""What the design pages and the packages' docstrings name is there."""

import ast
import pkgutil
import re
from pathlib import Path

import pytest

import tessera

DESIGN = Path(__file__).parents[2] / "docs" / "design"
SOURCE = Path(tessera.__file__).parent
PACKAGES = sorted(
    path for path in SOURCE.rglob("__init__.py") if path.parent.name not in ("migrations", "versions")
)
ROOMS = {path.stem for path in SOURCE.iterdir()}
MAX_LINES = 120  # two pages


def named(page: str) -> list[str]:
    """The dotted names of our own modules, classes and functions on that page."""
    names: list[str] = re.findall(r"`([a-z]\w*(?:\.\w+)+)`", (DESIGN / page).read_text())
    return [name for name in names if name.partition(".")[0] in ROOMS]


def is_there(name: str) -> bool:
    try:
        pkgutil.resolve_name(f"tessera.{name}")
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("name", ["nowhere.to.be", "pipeline.walk", "http.chat.ChatCompletions.nothing"])
def test_a_name_that_is_not_there_is_found_out(name: str) -> None:
    assert not is_there(name)


@pytest.mark.parametrize("page", ["architecture.md", "glossary.md"])
def test_every_name_on_a_design_page_is_there(page: str) -> None:
    assert [name for name in named(page) if not is_there(name)] == []


def test_the_architecture_page_names_the_three_ways_in_two_pages() -> None:
    assert len(named("architecture.md")) > 30
    assert len((DESIGN / "architecture.md").read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", PACKAGES[1:], ids=lambda path: str(path.parent.relative_to(SOURCE)))
def test_a_package_names_its_modules_in_reading_order(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    order = re.findall(r"`(\w+)`", docstring.partition("Reading order:")[2])
    assert len(order) > 1 or len(list(path.parent.glob("*.py"))) < 3
    there = {each.stem for each in path.parent.iterdir()}
    assert [name for name in order if name not in there] == []


ROOT = DESIGN.parents[1]
WRITTEN = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_that_a_page_names_is_there(path: Path) -> None:
    names: list[str] = re.findall(r"`((?:[a-z_]+/)+\w+\.py)`", path.read_text())
    assert [name for name in names if not ((SOURCE / name).is_file() or (ROOT / name).is_file())] == []
