"""`make test-ray`: the tests of this folder in `.venv-ray`, which has Ray beside what development needs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-ray"
PINS = tuple(ROOT / "requirements" / name for name in ("dev.txt", "ray.txt"))


def install() -> Path:
    """The interpreter of the environment, which is made, or brought to the pins, first."""
    uv = Path(sys.executable).with_name("uv")
    python = FOLDER / "bin/python"
    into = ("--python", python)
    run(uv, "venv", "-q", "--allow-existing", "--python", sys.executable, FOLDER)
    for pins in PINS:
        run(uv, "pip", "install", "-q", *into, "--require-hashes", "-r", pins)
    run(uv, "pip", "install", "-q", *into, "--no-deps", "--no-build-isolation", "-e", ROOT)
    return python


def run(*command: object) -> None:
    subprocess.run([*map(str, command)], check=True)


if __name__ == "__main__":
    interpreter = str(install())
    os.execv(interpreter, [interpreter, "-m", "pytest", "tests/ray", *sys.argv[1:]])
