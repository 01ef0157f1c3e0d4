import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.engines import tiny_engine
from tests.serving import Server, environment

__all__ = ["environment", "start_tiny"]

ROOT = Path(__file__).parents[3]

StartTiny = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_tiny(environment: dict[str, str]) -> Iterator[StartTiny]:
    """Starts `tessera serve` with one more engine; variables are given by keyword."""
    started: list[subprocess.Popen[str]] = []

    def one(**variables: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", tiny_engine.__name__],
            env={
                **environment,
                "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
                "TESSERA_PORT": "0",
                **variables,
            },
            cwd=ROOT,
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
def serve_tiny(start_tiny: StartTiny) -> Callable[..., Server]:
    """The same, once it serves."""
    key = "sk-tessera-" + "r" * 40

    def one(**variables: str) -> Server:
        process = start_tiny(**variables, TESSERA_API_KEY=key)
        assert process.stdout is not None
        lines = [process.stdout.readline().strip()]
        while lines[-1] and not lines[-1].startswith("Listening on "):
            lines.append(process.stdout.readline().strip())
        assert lines[-1], process.communicate()[1]
        return Server(process, lines[-1].split()[2].removesuffix("/v1,"), key, lines)

    return one
