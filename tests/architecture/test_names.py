"""Names say what a thing is for: no words that fit anything, no public surface by accident."""

import ast
import re
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import tessera

SOURCE = Path(__file__).parents[2] / "src" / "tessera"
MODULES = sorted(SOURCE.rglob("*.py"))

BANNED = re.compile(
    r"(utils?|helpers?|common|misc|data|info)"
    r"|.*(Manager|Handler)|.+Service"
    r"|_?(process|handle)_.*"
    r"|base_.*_impl"
)
# `Engine.info` is the protocol's own word for what is served.
ALLOWED_IN_CLASSES = {"info"}


def in_source(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def bound_name(node: ast.AST) -> str | None:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
            return name
        case _:
            return None


def bound_names(tree: ast.Module) -> Iterator[str]:
    classes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    members = {child for node in classes for child in ast.walk(node)}
    for node in ast.walk(tree):
        name = bound_name(node)
        if name is not None and not (node in members and name in ALLOWED_IN_CLASSES):
            yield name


@pytest.mark.parametrize("name", ["utils", "KeyManager", "handle_request", "_process_chunk", "data", "info"])
def test_the_pattern_finds(name: str) -> None:
    assert BANNED.fullmatch(name)


@pytest.mark.parametrize("path", MODULES, ids=in_source)
def test_no_name_is_banned(path: Path) -> None:
    names = {path.stem, *bound_names(ast.parse(path.read_text()))}
    assert sorted(name for name in names if BANNED.fullmatch(name)) == []


@pytest.mark.parametrize("path", MODULES, ids=in_source)
def test_a_module_opens_by_saying_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_no_module_is_private() -> None:
    named = (part for path in MODULES for part in path.relative_to(SOURCE).with_suffix("").parts)
    assert sorted({part for part in named if part.startswith("_")} - {"__init__", "__main__"}) == []


def test_the_public_names_are_few_and_meant() -> None:
    public = {
        name
        for name, value in vars(tessera).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    assert public == set(getattr(tessera, "__all__", ())) - {"__version__"}
    assert len(public) <= 6


# Names that several classes have. Take a name out once one class alone has it; put none in.
SHARED = {
    "Account", "Body", "Card", "Choice", "Chunk", "Connection", "Delta", "Entry", "Found", "Grammars", "Head",
    "Place", "Plan", "Problem", "Recording", "Refusal", "Reply", "Request", "Round", "Search", "Span", "Turn",
    "Turns", "Usage",
}  # fmt: skip
# What OpenAI's JSON and the core both have, under OpenAI's name.
PAIRS = {frozenset({"wire", "core"})}


def classes() -> dict[str, list[str]]:
    """The packages of the classes of each name, whose leading underscore does not count."""
    found: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name.lstrip("_"), []).append(path.relative_to(SOURCE).parts[0])
    return found


def test_a_class_has_its_name_alone() -> None:
    shared = {
        name
        for name, packages in classes().items()
        if len(packages) > 1 and not (len(packages) == 2 and frozenset(packages) in PAIRS)
    }
    assert sorted(shared - SHARED) == []
