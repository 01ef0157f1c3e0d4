"""One question for a process that answers no other."""

import io
import subprocess

from tessera.errors import StartupError
from tessera.processes import children
from tessera.processes.frames import frame, read_frame
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
            input=frame(b"") + frame(question),
            stdout=subprocess.PIPE,
            timeout=_DEADLINE_S,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TooMuch from None
    replies = io.BytesIO(done.stdout)
    is_ready = read_frame(replies.read) is not None
    answer = read_frame(replies.read)
    if answer is not None:
        return answer
    if is_ready and done.returncode in OVER_LIMITS:
        raise TooMuch
    raise StartupError(f"The process for {purpose} cannot work: it {children.ending(done.returncode)}.")
