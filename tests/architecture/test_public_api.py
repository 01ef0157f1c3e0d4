"""The public Python API: few names, meant, and imported when they are used."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette

import tessera
from tessera import Engine, Settings, TesseraError, create_app, load_settings
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer
from tessera.errors import StartupError


def python(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_public_names_are_few() -> None:
    assert sorted(tessera.__all__) == ["Engine", "Settings", "TesseraError", "create_app", "load_settings"]


@pytest.mark.parametrize("name", tessera.__all__)
def test_a_public_name_is_there_and_has_its_own_docstring(name: str) -> None:
    assert name in dir(tessera)
    assert getattr(tessera, name).__doc__


def test_a_name_that_is_not_there_is_said_to_be_missing() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        importlib.import_module("tessera").__getattr__("Nothing")


def test_importing_the_package_imports_nothing_of_it() -> None:
    program = "import sys, tessera; print([name for name in sys.modules if name.startswith('tessera.')])"
    assert python(program) == "[]"


def test_the_settings_are_loaded_without_a_library_for_http() -> None:
    program = "import sys; from tessera import load_settings; load_settings({}, {})"
    assert python(f"{program}; print('starlette' in sys.modules)") == "False"


def test_settings_are_loaded_or_refused() -> None:
    loaded: Settings = load_settings({"engine": "scripted"}, {})
    assert loaded == Settings(engine="scripted")
    with pytest.raises(TesseraError) as refused:
        load_settings({"port": "many"}, {})
    assert isinstance(refused.value, StartupError)


def test_an_engine_of_ours_is_an_engine() -> None:
    engine: Engine = ScriptedEngine(ScriptedTokenizer())
    assert engine.unready() is None


def test_an_application_is_made_of_settings(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/tessera.db"
    app = create_app(Settings(engine="scripted", model_name="mine", database_url=store))
    assert isinstance(app, Starlette)
    assert app.state.service.catalog.default.id == "mine"


def test_the_module_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "tessera", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"tessera, version {tessera.__version__}\n"
