"""Other programs that fill the cache."""

import subprocess
from collections.abc import Mapping, Sequence

from tessera.processes.children import without_secrets


def run(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep what it says. It gets none of our settings: keys are among them.

    It does inherit the lock of the cache, the one inheritable descriptor there is: if this process is
    killed, nobody else builds while the orphan still writes.
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
