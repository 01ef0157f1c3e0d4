"""Limits of children are in processor time, so that a verdict is the same however busy the machine is."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from tessera.errors import EngineOverloaded
from tessera.grammars.process import Attempts
from tessera.grammars.question import TOO_MUCH
from tessera.grammars.trial import Trial
from tessera.processes.frames import frame
from tessera.processes.pool import OVER_LIMITS, ProcessPool
from tessera.schemas.validation_question import Validation, ValidationProblem, Validations

LIMIT_S = 0.3
PROGRAM = """
import time
from tessera.processes import answering

def compute():
    while True:
        pass

def prepare(setup):
    exec(setup)
    def answer(question):
        exec(question)
        return b"answered"
    return answer

answering.serve(prepare, memory_bytes=2**29, processor_s={limit_s})
"""
WAITING = f"time.sleep({4 * LIMIT_S})".encode()
COMPUTING = b"compute()"


def asked(setup: bytes, *questions: bytes) -> tuple[int, bytes]:
    """Runs a child; returns its exit code and its output."""
    program = PROGRAM.format(limit_s=LIMIT_S)
    sent = b"".join(map(frame, (setup, *questions)))
    done = subprocess.run([sys.executable, "-c", program], input=sent, capture_output=True, check=False)
    return done.returncode, done.stdout


def test_to_wait_for_the_processor_is_not_counted() -> None:
    assert asked(WAITING, WAITING, b"pass") == (0, frame(b"") + 2 * frame(b"answered"))


@pytest.mark.parametrize(
    ("questions", "said"),
    [((b"pass", COMPUTING), [b"", b"answered"]), ((b"x = bytes(2**30)",), [b""])],
    ids=["time", "memory"],
)
def test_what_exceeds_the_limits_ends_the_child(questions: tuple[bytes, ...], said: list[bytes]) -> None:
    code, output = asked(b"pass", *questions)
    assert output == b"".join(map(frame, said))
    assert code in OVER_LIMITS


def test_the_set_up_is_limited_too() -> None:
    code, output = asked(COMPUTING)
    assert (code in OVER_LIMITS, output) == (True, b"")


@pytest.fixture
def attempts() -> Attempts:
    return Attempts(Trial(258, {}))


def test_an_attempt_that_waits_has_used_nothing(attempts: Attempts) -> None:
    assert attempts._try(lambda: time.sleep(1.5)) is None
    assert attempts.used_s < 1


def test_an_attempt_that_computes_is_ended_and_so_are_all_that_follow(attempts: Attempts) -> None:
    def compute() -> None:
        while True:
            pass

    n_tried = 0
    while attempts.used_s <= 4:
        assert attempts._try(compute) == TOO_MUCH
        n_tried += 1
    assert n_tried in (4, 5)
    assert attempts._try(lambda: "tried") == TOO_MUCH


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_that_somebody_else_ends_gives_no_verdict(number: int) -> None:
    async def check() -> None:
        pool = ProcessPool("tessera.schemas.validation_process", b"", purpose="tests", n_processes=1)
        question = msgspec.json.encode(Validations([Validation(msgspec.Raw(b"true"), "1")]))
        try:
            await pool.start()
            child = pool._processes[0]._process
            assert child is not None
            os.kill(child.pid, number)
            await child.wait()
            with pytest.raises(EngineOverloaded):
                await pool.ask(question)
            assert msgspec.json.decode(await pool.ask(question), type=ValidationProblem).problem is None
        finally:
            await pool.aclose()

    asyncio.run(check())
