"""Runs the programs of a client's page as they are printed, in the client's environment, on a real server."""

import os
import re
import subprocess
from pathlib import Path

from tests.clients.installing import NODE
from tests.clients.table import ROOT, Client

SHOWN_URL = "http://127.0.0.1:8000"
LIMIT_S = 240
PROGRAM = re.compile(r"^```(python|js)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def programs(client: Client) -> list[tuple[str, str]]:
    """The languages and texts; both languages of the documentation have the same."""
    return PROGRAM.findall((ROOT / "docs/en" / client.page).read_text())


def failures(client: Client, folder: Path, url: str, key: str) -> list[str]:
    """What went wrong with the programs of the page. Each of them must print something."""
    found: list[str] = []
    for language, text in programs(client):
        code = text.replace(SHOWN_URL, url)
        command: list[str | Path] = [folder / "bin" / "python", "-c", code]
        if language == "js":  # Node looks for packages where the program is
            program = folder / "page.mjs"
            program.write_text(code)
            command = [NODE, program]
        done = subprocess.run(
            command,
            env={**os.environ, "TESSERA_API_KEY": key},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        if done.returncode or not done.stdout.strip():
            found.append(f"{client.page}: {done.stderr.strip()[-600:] or 'it printed nothing'}")
    return found
