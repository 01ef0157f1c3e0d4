"""Tries clients against Tessera: `python -m tests.clients [NAME …] [--write]`; no names are all of them.

Each client gets an environment of its own under `.clients`, and is driven by a program in `probes`. Most is
tried against a scripted server, so that every reply is known; structured output and calls also against
`tessera serve` with the embedded model. `--write` puts the result into docs/*/clients.md.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.clients.installing import NotInstalled, install, lock
from tests.clients.page import row, write
from tests.clients.server import embedded, scripted
from tests.clients.table import CLIENTS, Client
from tests.clients.trying import Result, attempt, end_with_me


def main() -> int:
    """Returns the exit code, which is 1 if anything failed."""
    options = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    known = [client.name for client in CLIENTS]
    options.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known))
    options.add_argument("--write", action="store_true", help="write docs/*/clients.md; needs all clients")
    options.add_argument("--lock", action="store_true", help="compile the pins anew, and do nothing else")
    chosen = options.parse_args()
    if unknown := {*chosen.names} - {*known}:
        options.error(f"no such client: {', '.join(sorted(unknown))}")
    if chosen.lock:
        lock()
        return 0
    wanted = chosen.names or known
    results, skipped = try_all([client for client in CLIENTS if client.name in wanted])
    failed = [result for result in results if result.failures]
    print(*(f"{result.client.title}: {line}" for result in failed for line in result.failures), sep="\n")
    print(*skipped, sep="\n")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    if chosen.write:
        if len(results) < len(CLIENTS):
            sys.exit("Not written: the page shows all clients, and not all were tried.")
        write(results)
    return bool(failed)


def try_all(clients: Sequence[Client]) -> tuple[list[Result], list[str]]:
    """Tries the clients. Returns the results, and why others were skipped; each row is printed at once."""
    results: list[Result] = []
    skipped: list[str] = []
    end_with_me()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(scripted())
        real = stack.enter_context(embedded(work))
        for client in clients:
            try:
                folder = install(client)
            except NotInstalled as why:
                skipped.append(f"{client.title}: skipped, it could not be installed: {why}")
                continue
            results.append(attempt(client, folder, server, real, work))
            print(row(results[-1], "en"), flush=True)
    return results, skipped


if __name__ == "__main__":
    sys.exit(main())
