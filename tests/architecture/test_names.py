"""Names say what a thing is for: no words that fit anything, no public surface by accident."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "tessera"
TREES = {path: ast.parse(path.read_text()) for path in sorted(SOURCE.rglob("*.py"))}

BANNED = re.compile(
    r"(utils?|helpers?|common|misc|data|info)"
    r"|.*(Manager|Handler)|.+Service"
    r"|_?(process|handle)_.*"
    r"|base_.*_impl"
)
# OpenAI's structs and our own types of the same thing.
WIRE_AND_CORE = {"ToolCall", "ToolChoice"}
# To be renamed: remove a name when it is unique.
NOT_YET_UNIQUE = {
    *("Body", "Connection", "Entry", "Grammars", "Reply", "Round", "Search", "Span", "Turns", "_Request")
}
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


def test_no_name_is_banned() -> None:
    names = {in_source(path): {path.stem, *bound_names(tree)} for path, tree in TREES.items()}
    banned = {path: sorted(filter(BANNED.fullmatch, found)) for path, found in names.items()}
    assert {path: found for path, found in banned.items() if found} == {}


def test_a_module_opens_by_saying_what_it_is_for() -> None:
    assert [in_source(path) for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_a_class_name_is_unique() -> None:
    classes = Counter(
        node.name for tree in TREES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    )
    shared = {name for name, n in classes.items() if n > 1}
    assert sorted(shared - WIRE_AND_CORE - NOT_YET_UNIQUE) == []


def test_no_module_is_private() -> None:
    named = (part for path in TREES for part in path.relative_to(SOURCE).with_suffix("").parts)
    assert sorted({part for part in named if part.startswith("_")} - {"__init__", "__main__"}) == []
