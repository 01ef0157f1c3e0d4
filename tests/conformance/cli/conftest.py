import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

TESSERA = Path(sys.executable).with_name("tessera")

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a shell has, without settings of its owner and with an empty cache."""
    foreign = ("TESSERA_", "HF_", "TRANSFORMERS_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "TESSERA_CACHE_DIR": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf")}


@pytest.fixture
def start(environment: dict[str, str]) -> Iterator[Start]:
    """Start `tessera` with arguments and, by keyword, variables; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def one(*arguments: object, **variables: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [TESSERA, *map(str, arguments)],
            env={**environment, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield one
    for process in started:
        with process:
            process.kill()


@pytest.fixture
def tessera(start: Start) -> Callable[..., tuple[int, str, str]]:
    """Run `tessera` to its end: exit code, standard output, standard error."""

    def run(*arguments: object, stdin: str = "", **variables: str) -> tuple[int, str, str]:
        process = start(*arguments, **variables)
        output, errors = process.communicate(stdin, timeout=30)
        return process.returncode, output, errors

    return run
