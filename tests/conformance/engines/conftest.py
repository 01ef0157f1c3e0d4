import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conformance.engines import tiny_engine
from tests.serving import Server, Start, announced, environment, launching

__all__ = ["environment", "start_tiny"]

ROOT = Path(__file__).parents[3]


@pytest.fixture
def start_tiny(environment: dict[str, str]) -> Iterator[Start]:
    """Starts `tessera serve` with one more engine; keywords become variables."""
    own = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "TESSERA_PORT": "0"}
    with launching(environment | own, sys.executable, "-m", tiny_engine.__name__) as one:
        yield one


@pytest.fixture
def serve_tiny(start_tiny: Start) -> Callable[..., Server]:
    """Starts it and waits until it serves."""
    key = "sk-tessera-" + "r" * 40

    def one(**variables: str) -> Server:
        return announced(start_tiny(**variables, TESSERA_API_KEY=key), key)

    return one
