"""Other programs that fill the cache."""

import os
import subprocess
from collections.abc import Mapping, Sequence


def run(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and keep what it says. It gets none of our settings: keys are among them.

    It does inherit the lock of the cache, the one inheritable descriptor there is: if this process is
    killed, nobody else builds while the orphan still writes.
    """
    ours = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    return subprocess.run(
        command,
        env={**ours, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        close_fds=False,
        check=False,
    )
