"""Whatever is imported is declared, so that an installation has it."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Imported where it is used only, with a message for whoever lacks it.
OPTIONAL = {"redis", "psycopg", "opentelemetry", "ray", "yaml", "aiohttp", "yarl"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {canonical(re.split(r"[<>=!~\[ ;]", wanted)[0]) for wanted in project["dependencies"]}


def imported() -> set[str]:
    names: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=aliases):
                    names |= {alias.name.partition(".")[0] for alias in aliases}
                case ast.ImportFrom(module=str(module), level=0):
                    names.add(module.partition(".")[0])
                case _:
                    pass
    return names - set(sys.stdlib_module_names) - {"tessera"}


def test_every_imported_package_is_declared() -> None:
    sources = packages_distributions()
    wanted = {canonical(sources.get(name, [name])[0]) for name in imported() - OPTIONAL}
    assert wanted - declared() == set()


@pytest.mark.parametrize("pins", ["serve.txt", "image.txt", "dev.txt"])
def test_every_declared_package_is_pinned(pins: str) -> None:
    """A range that is added to `pyproject.toml` needs `make lock`."""
    lines = (ROOT / "requirements" / pins).read_text().splitlines()
    pinned = {canonical(re.split(r"[=\[]", line)[0]) for line in lines if re.match(r"[a-z0-9]", line)}
    assert declared() - pinned == set()
