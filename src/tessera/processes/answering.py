"""The child's side of a pool: answers one question after another, within limits.

Frames come on standard input. The first one is the set-up, which is answered with an empty frame when the
child is ready; every other is a question. What libraries write is dropped once the child is ready, because
they may quote the question; a bug is reported by its type and its place.
"""

import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NoReturn, TextIO, TypeAlias

from tessera.processes.frames import frame, read_frame
from tessera.processes.priority import NICENESS

TOO_MUCH_CODE, BUG_CODE = 75, 70
"""Exit codes: the memory, or the stack, did not suffice; a bug."""

Answerer: TypeAlias = Callable[[bytes], bytes]
_STACK_BYTES = 2**28
"""Libraries recurse, as deep as a chain of thousands of definitions."""
_STDOUT, _STDERR = 1, 2


def serve(prepare: Callable[[bytes], Answerer], *, memory_bytes: int, processor_s: float) -> None:
    """Answers until the input ends. `prepare` turns the set-up into the function that answers the questions.

    The set-up, and each question, may take `processor_s` of processor time, so that a verdict depends on the
    question and not on what else runs. One that takes more ends the process, as does one that needs more
    memory than `memory_bytes`.
    """
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(_STACK_BYTES)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(_answer_all, prepare, processor_s).result()


def _answer_all(prepare: Callable[[bytes], Answerer], processor_s: float) -> None:
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(_STDOUT), "wb")
    reports = os.fdopen(os.dup(_STDERR), "w")
    os.dup2(_STDERR, _STDOUT)
    setup = read_frame(requests.read)
    if setup is None:
        return
    signal.setitimer(signal.ITIMER_PROF, processor_s)
    answer = prepare(setup)
    signal.setitimer(signal.ITIMER_PROF, 0)
    _write(replies, b"")
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), _STDOUT)
        os.dup2(nowhere.fileno(), _STDERR)
    while (question := read_frame(requests.read)) is not None:
        signal.setitimer(signal.ITIMER_PROF, processor_s)
        try:
            reply = answer(question)
        except (MemoryError, RecursionError):
            os._exit(TOO_MUCH_CODE)
        except BaseException as error:
            _report(error, reports)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _write(replies, reply)


def _write(stream: BinaryIO, payload: bytes) -> None:
    stream.write(frame(payload))
    stream.flush()


def _report(error: BaseException, reports: TextIO) -> NoReturn:
    """Writes no message: it may quote the question."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    print(f"{sys.argv[0]} met a bug: {name} at {place.filename}:{place.lineno}", file=reports, flush=True)
    os._exit(BUG_CODE)
