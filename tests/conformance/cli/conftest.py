from collections.abc import Callable

import pytest
from tests.otlp_receiver import receiver
from tests.serving import Start, environment, service, start

__all__ = ["environment", "receiver", "service", "start"]


@pytest.fixture
def tessera(start: Start) -> Callable[..., tuple[int, str, str]]:
    """Run `tessera` to its end: exit code, standard output, standard error."""

    def run(*arguments: object, stdin: str = "", **variables: str) -> tuple[int, str, str]:
        process = start(*arguments, **variables)
        output, errors = process.communicate(stdin, timeout=300)
        return process.returncode, output, errors

    return run
