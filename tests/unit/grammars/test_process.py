"""What an attempt says of a grammar, and when it says nothing."""

import os
import signal

import pytest

from tessera.core.generation import Grammar
from tessera.grammars.process import Attempts
from tessera.grammars.question import TOO_MUCH
from tessera.grammars.trial import Trial


class Ended(Trial):
    """A trial that ends its process."""

    def __init__(self, how: signal.Signals) -> None:
        self._how = how

    def problem(self, lark: str) -> str | None:
        os.kill(os.getpid(), self._how)
        return "it lives"


def test_an_attempt_that_exceeds_its_limits_is_a_verdict() -> None:
    assert Attempts(Ended(signal.SIGPROF)).attempt(Grammar("start: /a/")) == TOO_MUCH


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_attempt_that_was_ended_from_outside_is_none(how: signal.Signals) -> None:
    with pytest.raises(ChildProcessError):
        Attempts(Ended(how)).attempt(Grammar("start: /a/"))
