"""One question for a process that answers no other."""

import subprocess

from tessera.errors import StartupError
from tessera.processes import children
from tessera.processes.answering import LENGTH
from tessera.processes.pool import OVER_LIMITS, TooMuch

_DEADLINE_S = 120.0


def ask(module: str, question: bytes, *, purpose: str) -> bytes:
    """The answer of a module that calls `answering.serve`; the set-up is empty.

    Raises `TooMuch` if the question exceeds the limits, and `StartupError` if the process cannot work.
    """
    try:
        done = subprocess.run(
            children.command(module),
            env=children.chosen(),
            input=LENGTH.pack(0) + LENGTH.pack(len(question)) + question,
            stdout=subprocess.PIPE,
            timeout=_DEADLINE_S,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TooMuch from None
    ready, said = done.stdout[: LENGTH.size], done.stdout[LENGTH.size :]
    if len(said) >= LENGTH.size and len(said) == LENGTH.size + LENGTH.unpack(said[: LENGTH.size])[0]:
        return said[LENGTH.size :]
    if ready and done.returncode in OVER_LIMITS:
        raise TooMuch
    raise StartupError(f"The process for {purpose} cannot work: it {children.ending(done.returncode)}.")
