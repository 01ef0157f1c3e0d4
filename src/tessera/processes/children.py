"""The one place in which children are started, written to and ended.

A child imports nothing from the folder that the server was started in: anybody may have left a `json.py`
there. `-P` keeps that folder out of `sys.path`, and so does dropping the entries of PYTHONPATH that mean it.
"""

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress

_PATH = "PYTHONPATH"
_SAFE = "PYTHONSAFEPATH"
_SECRETS = "TESSERA_"

# Some libraries report their imports to their makers, unless they find no home to keep an identifier in; the
# openvino package is one.
HOMELESS = {"HOME": os.devnull}


def command(module: str, *arguments: str, python: str | None = None) -> tuple[str, ...]:
    """The command line that runs a module with this interpreter, or with that of another environment."""
    return (python or sys.executable, "-P", "-m", module, *arguments)


def chosen(*names: str) -> dict[str, str]:
    """An environment with these of our variables, PYTHONPATH and nothing else."""
    return _safe({name: os.environ[name] for name in (*names, _PATH) if name in os.environ})


def beginning(*prefixes: str) -> dict[str, str]:
    """Our variables whose names begin with one of these."""
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


def without_secrets(*prefixes: str) -> dict[str, str]:
    """Our environment without the settings, some of which are keys, and without variables that begin with one
    of `prefixes`.
    """
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
    """Starts a child whose standard input is a pipe. The child ends when the pipe does, and so when this
    process dies.
    """
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=PIPE,
        stdout=stdout,
        env=environment,
        pass_fds=pass_fds,
        start_new_session=True,  # an interrupt in the terminal is the service's to decide on
    )


async def send(child: Process, payload: bytes) -> None:
    """Writes to the child's standard input; raises `OSError` if the child has died."""
    assert child.stdin is not None
    try:
        child.stdin.write(payload)
        await child.stdin.drain()
    except RuntimeError as error:  # uvloop's word for a pipe that the other side has closed
        raise BrokenPipeError(str(error)) from error


async def kill(child: Process) -> int:
    """Ends a child and the processes that it has started, even if the child has ended already; returns its
    exit code, negative for a signal.
    """
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    code = await child.wait()
    if child.stdin is not None:
        child.stdin.close()
    return code


def end_family() -> None:
    """In a child: ends it and the processes that it has started."""
    os.killpg(os.getpid(), signal.SIGKILL)


def ending(code: int) -> str:
    """How a child ended, as the end of a sentence."""
    return f"ended with exit code {code}" if code >= 0 else f"was ended: {signal.strsignal(-code)}"


def run(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, without our settings, and keeps what it writes.

    The program inherits the one inheritable descriptor there is, the lock of the model cache: if this process
    is killed, no other builds while the orphan still writes.
    """
    return subprocess.run(
        command,
        env={**without_secrets(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        close_fds=False,
        check=False,
    )
