"""The real command, as a shell runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tessera import __version__
from tessera.cli.main import COMMANDS

TESSERA = Path(sys.executable).with_name("tessera")


def tessera(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Runs `tessera` on a wide terminal; returns the exit code, standard output and standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    done = subprocess.run(
        [TESSERA, *arguments],
        env={**clean, "COLUMNS": "500", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_help_names_every_command() -> None:
    code, output, _ = tessera("--help")
    assert code == 0
    assert [name for name in COMMANDS if f"  {name} " not in output] == []


def test_help_imports_no_more_than_it_needs() -> None:
    script = (
        "import sys; from tessera.cli.main import main; main(['--help'], standalone_mode=False);"
        "print(sorted({'openvino', 'starlette', 'numpy', 'rich', 'uvicorn', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_printed() -> None:
    assert tessera("--version")[1] == f"tessera, version {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        (("serve", "--port", "99999"), {}, ["--port", "'99999'", "0 to 65535"]),
        (("models", "list"), {"TESSERA_THREADS": "-1"}, ["TESSERA_THREADS", "'-1'"]),
        (("serve", "--port", "0", "--model", "/absent"), {}, ["/absent"]),
        (("serve", "--host", "192.0.2.1"), {}, ["192.0.2.1:8000"]),
    ],
)
def test_wrong_settings_are_named_in_one_line(
    arguments: tuple[str, ...], variables: dict[str, str], named: list[str]
) -> None:
    code, output, errors = tessera(*arguments, **variables)
    assert (code, output) == (2, "")
    assert [part for part in named if part not in errors.splitlines()[-1]] == []
    assert "Traceback" not in errors
