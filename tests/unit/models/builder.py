"""A process that makes the model `tiny` in a cache, for tests to watch, race and kill.

builder.py ROOT wait     make it; print `building`, and finish when a line comes in
builder.py ROOT orphan   the same, but a child of it does the waiting and the writing
builder.py ROOT killed   be killed at the first, second, … thing done to the file system, again and again
"""

import os
import signal
import sys
from pathlib import Path

from tessera.models.cache import Cache, Origin
from tessera.models.progress import Quiet
from tessera.processes import children

CONTENT = b"weights" * 1000


class Told(Quiet):
    def note(self, text: str) -> None:
        print(text, flush=True)


def build(folder: Path) -> Origin:
    (folder / "large.bin").write_bytes(CONTENT)
    (folder / "small.json").write_text("{}")
    return Origin("tiny", "here")


def build_when_told(folder: Path) -> Origin:
    print("building", flush=True)
    sys.stdin.readline()
    return build(folder)


def build_by_a_child(folder: Path) -> Origin:
    """Builds while a child process runs: it reports through one pipe that it runs, and writes its file when
    the test sends a line through another.
    """
    pipes = folder.parents[1]
    script = f"echo > {pipes}/runs; read told < {pipes}/told; echo late > {folder}/late; rm {pipes}/runs"
    children.run(["sh", "-c", script], {})
    return build(folder)


def killed_at(n: int, cache: Cache) -> bool:
    """Kills a process at its `n`-th access to the file system. Returns whether it got so far."""
    child = os.fork()
    if child == 0:
        remaining = n

        def count(event: str, arguments: object) -> None:
            nonlocal remaining
            if event == "open" or event.startswith("os."):
                remaining -= 1
                if remaining == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        cache.ensure("tiny", build, Quiet())
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def check_after(n: int, cache: Cache) -> None:
    for entry in cache.entries():
        entry.verify()
    made = cache.ensure("tiny", build, Quiet())
    made.verify()
    assert sorted(made.manifest.files) == ["large.bin", "small.json"], n
    assert (made.path / "large.bin").read_bytes() == CONTENT
    assert [entry.name for entry in cache.entries()] == ["tiny"]


def main() -> None:
    root, way = Path(sys.argv[1]), sys.argv[2]
    if way != "killed":
        builds = {"wait": build_when_told, "orphan": build_by_a_child}
        print(Cache(root).ensure("tiny", builds[way], Told()).path, flush=True)
        return
    n = 1
    while killed_at(n, cache := Cache(root / str(n))):
        check_after(n, cache)
        n += 1
    print(n, flush=True)


if __name__ == "__main__":
    main()
