"""The connection to a Ray cluster, which must demand a token: otherwise anybody who reaches one of its ports
can run programs on it.
"""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tessera.errors import CommandError, StartupError

LOCAL = "local"
"""Ray's word for a new cluster of this machine, which ends with the process."""

OBJECT_STORE_BYTES = 80 * 2**20
"""The least that Ray takes. Nothing of a request passes through the object store."""

_PROBE_S = 300.0
_MODE = "RAY_AUTH_MODE"


@contextmanager
def connected(address: str, *, insecure: bool) -> Generator[str]:
    """A connection to the cluster at `address`; `LOCAL` starts one. Gives the address of its head.

    Raises `StartupError` without Ray, or if the cluster demands no token and `insecure` is false, and
    `CommandError` if there is no cluster.
    """
    ray = _library(insecure=insecure)
    new = {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, logging_level="warning", **new)
    except Exception as error:  # of any class, also of none but `Exception`
        ray.shutdown()
        raise CommandError(f"The Ray cluster {address} cannot be used: {_first_line(error)}") from error
    try:
        head: str = ray.get_runtime_context().gcs_address
        if not insecure and address != LOCAL:
            _require_token(head)
        yield head
    finally:
        ray.shutdown()


def _library(*, insecure: bool) -> Any:  # noqa: ANN401 - Ray, which is untyped here
    """Imports Ray, which reads these variables once. Processes of a new cluster inherit them."""
    mode = os.environ.get(_MODE)
    if not insecure and mode not in (None, "token"):
        raise StartupError(f"{_MODE} is {mode!r}. Set it to token, or give --insecure-cluster.")
    if mode is None and not insecure:
        os.environ[_MODE] = "token"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        from tessera.cluster.library import ray
    except ModuleNotFoundError as error:
        raise StartupError("tessera deploy needs a library: pip install 'tessera-serve[ray]'.") from error
    return ray


def _require_token(head: str) -> None:
    """Asks the cluster without a token, as anybody could."""
    program = Path(sys.executable).with_name("ray")
    asked = subprocess.run(
        [program, "health-check", "--address", head],
        env={**os.environ, _MODE: "disabled"},
        capture_output=True,
        timeout=_PROBE_S,
        check=False,
    )
    if asked.returncode == 0:
        raise StartupError(
            "The cluster answers without a token, so anybody who reaches it can run programs on it. Start "
            f"all of its nodes with {_MODE}=token, or give --insecure-cluster."
        )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
