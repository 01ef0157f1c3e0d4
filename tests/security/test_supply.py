"""What went wrong through what a server is made of: code that evaluates, formats that execute, packages that
were swapped.
"""

import ast
import re
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distributions, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "tessera"
MODULES = sorted(SOURCE.rglob("*.py"))
SITE = Path(sysconfig.get_path("purelib"))


def calls(tree: ast.AST) -> Iterator[str]:
    """The names that are called: `eval`, `ast.literal_eval` as `literal_eval`."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr=name)):
                yield name
            case _:
                pass


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=str(module), names=aliases):
                yield module
                yield from (f"{module}.{alias.name}" for alias in aliases)
            case _:
                pass


def in_source(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", MODULES, ids=in_source)
def test_CVE_2025_9141_CVE_2024_10188_nothing_is_evaluated(path: Path) -> None:
    evaluating = {"eval", "exec", "literal_eval", "__import__", "run_path", "system", "popen"}
    assert evaluating.isdisjoint(calls(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", MODULES, ids=in_source)
def test_CVE_2025_24357_CVE_2025_32444_CVE_2026_3060_nothing_is_unpickled(path: Path) -> None:
    """Neither from files (`torch.load`) nor from sockets."""
    foreign = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "torch", "joblib", "zmq"}
    named = {name.partition(".")[0] for name in imports(ast.parse(path.read_text()))}
    assert foreign.isdisjoint(named)


@pytest.mark.parametrize("path", MODULES, ids=in_source)
def test_CVE_2025_62727_CVE_2025_54121_no_file_is_served_and_no_form_is_parsed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    named = set(imports(tree))
    for module in ("starlette.staticfiles", "starlette.formparsers", "multipart", "python_multipart"):
        assert not any(name.startswith(module) for name in named)
    assert "starlette.responses.FileResponse" not in named
    assert "form" not in set(calls(tree))


def test_CVE_2026_40347_CVE_2026_42561_no_multipart_parser_is_installed_with_us() -> None:
    for pins in (ROOT / "requirements").glob("*.txt"):
        assert not re.search(r"(?m)^(python-)?multipart==", pins.read_text()), pins.name


def test_CVE_2026_48710_CVE_2025_43859_the_servers_libraries_are_the_mended_ones() -> None:
    def at_least(name: str, *least: int) -> bool:
        return tuple(map(int, version(name).split(".")[:3])) >= least

    assert at_least("starlette", 1, 0, 1)
    assert at_least("httptools", 0, 7)


# What runs at every start of the interpreter, and whose it may be.
STARTS_CODE = {"tessera-serve", "coverage", "setuptools"}


def test_LiteLLM_1_82_7_no_package_brings_code_that_runs_at_every_start() -> None:
    owners = {
        SITE / file.name: each.metadata["Name"]
        for each in distributions(path=[str(SITE)])
        for file in each.files or ()
        if file.suffix == ".pth" and len(file.parts) == 1
    }
    found = {path: owners.get(path, "nobody") for path in SITE.glob("*.pth")}
    assert {path: name for path, name in found.items() if name not in STARTS_CODE} == {}
    assert [*SITE.glob("sitecustomize*"), *SITE.glob("usercustomize*")] == []


def test_LiteLLM_1_82_8_whatever_is_installed_is_pinned_by_its_hash() -> None:
    lines = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert len(lines) >= 3
    for line in lines:
        assert "--require-hashes" in line or line.rstrip().endswith("--no-deps --no-build-isolation -e .")
    pinned = "\n".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt"))
    assert not re.search(r"(?m)^litellm", pinned)
