"""Where the server spends its time: the scripted engine's server, sampled while `tessera bench` loads it.

    python -m benchmarks.profile [--seconds 10] [--output profile.html] [-- OPTIONS OF tessera bench]

The API, the pipeline and the engine share the one process that is sampled. A tree of calls is printed; the
HTML page shows all of it.
"""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from benchmarks.servers import scripted_under

BENCH = ("--rounds", "1", "--streams", "16", "--shape", "chat,tools")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--output", type=Path, default=Path("profile.html"))
    parser.add_argument("bench", nargs="*", help="options of `tessera bench`, after --")
    given = parser.parse_args()
    session = given.output.with_suffix(".pyisession")
    profiler = ["-m", "pyinstrument", "-r", "session", "-o", str(session)]
    with scripted_under(profiler) as (server, process):
        command = [
            sys.executable,
            "-m",
            "tessera",
            "bench",
            "--url",
            server.url,
            "--seconds",
            str(given.seconds),
        ]
        key = {"TESSERA_API_KEY": server.api_key or ""}
        subprocess.run([*command, *BENCH, *given.bench], env=os.environ | key, check=True)
        process.send_signal(signal.SIGINT)
        process.wait(30)
    show = [sys.executable, "-m", "pyinstrument", "--load", str(session)]
    subprocess.run([*show, "-r", "html", "-o", str(given.output)], check=True)
    subprocess.run(show, check=True)
    session.unlink()
    print(f"The whole tree: {given.output}")


if __name__ == "__main__":
    main()
