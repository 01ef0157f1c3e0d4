"""Tries clients against Tessera: `python -m tests.clients [NAME …] [--write]`; no names are all of them.

Each client gets an environment of its own under `.clients`, and is driven by a program in `probes`. Most is
tried against a scripted server, so that every reply is known; structured output and calls also against
`tessera serve` with the embedded model. `--write` puts the result into docs/*/clients.md.
"""

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.clients.installing import NotInstalled, install, lock
from tests.clients.page import row, write
from tests.clients.server import embedded, scripted
from tests.clients.table import CLIENTS
from tests.clients.trying import Result, attempt, end_with_me


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.clients", description=__doc__)
    options.add_argument(
        "names", nargs="*", choices=[client.name for client in CLIENTS] + [[]], metavar="NAME"
    )
    options.add_argument("--write", action="store_true", help="write docs/*/clients.md; needs all clients")
    options.add_argument("--lock", action="store_true", help="compile the pins anew, and do nothing else")
    chosen = options.parse_args()
    if chosen.lock:
        lock()
        return 0
    clients = [
        client for client in CLIENTS if client.name in (chosen.names or [each.name for each in CLIENTS])
    ]
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
    failures = [f"{result.client.title}: {line}" for result in results for line in result.failures]
    print(*failures, *skipped, sep="\n")
    print(f"{len(results) - sum(bool(result.failures) for result in results)} passed, ", end="")
    print(f"{sum(bool(result.failures) for result in results)} failed, {len(skipped)} skipped")
    if chosen.write:
        if len(results) < len(CLIENTS):
            sys.exit("Not written: the page shows all clients, and not all were tried.")
        write(results)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
