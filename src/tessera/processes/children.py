"""How Python children are started and ended: the one place.

A child imports nothing from the folder that the server was started in: anybody may have left a `json.py`
there. `-P` keeps that folder out of `sys.path`, and so does dropping the entries of PYTHONPATH that mean it.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

_PATH = "PYTHONPATH"
_SAFE = "PYTHONSAFEPATH"
_SECRETS = "TESSERA_"


def command(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line that runs a module."""
    return (sys.executable, "-P", "-m", module, *arguments)


def chosen(*names: str) -> dict[str, str]:
    """An environment with those of our variables, PYTHONPATH and nothing else."""
    return _safe({name: os.environ[name] for name in (*names, _PATH) if name in os.environ})


def without_secrets(*prefixes: str) -> dict[str, str]:
    """Our environment but for the settings, among which keys are, and what else begins with `prefixes`."""
    left_out = (_SECRETS, *prefixes)
    return _safe({name: value for name, value in os.environ.items() if not name.startswith(left_out)})


def _safe(environment: Mapping[str, str]) -> dict[str, str]:
    """An empty entry of PYTHONPATH means the current folder."""
    safe = {**environment, _SAFE: "1"}
    entries = [os.path.abspath(entry) for entry in safe.pop(_PATH, "").split(os.pathsep) if entry]
    return safe | ({_PATH: os.pathsep.join(entries)} if entries else {})


async def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdout: int = PIPE,
    pass_fds: Sequence[int] = (),
) -> Process:
    """A child whose standard input is a pipe: it ends when that does, and so when this process dies."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=stdout,
        env=environment,
        pass_fds=pass_fds,
        start_new_session=True,  # an interrupt in the terminal is the service's to decide on
    )


def write(child: Process, payload: bytes) -> None:
    """Puts bytes on their way to a child; raises `BrokenPipeError` if it has ended."""
    assert child.stdin is not None
    try:
        child.stdin.write(payload)
    except RuntimeError as error:  # what uvloop raises for a pipe that the other side has closed
        raise BrokenPipeError(str(error)) from error


async def kill(child: Process) -> int:
    """Ends a child and the children it has forked; returns its exit code, negative for a signal."""
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    code = await child.wait()
    if child.stdin is not None:
        child.stdin.close()
    return code


def ending(code: int) -> str:
    """How a child ended, for people."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended: {signal.strsignal(-code)}"
