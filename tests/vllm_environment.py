"""`make test-vllm`: the tests of the vLLM engine, in the environment that VLLM_PYTHON names.

Without the variable, vLLM for processors is installed into `.vllm`, once. Arguments are those of pytest;
without any, all but the full counts are run.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.hosted import ROOT, VLLM_PYTHON

DATA = ROOT / ".vllm"
INSTALLED = DATA / "tessera/engines/vllm/bin/python"


def main() -> None:
    python = Path(os.environ.get(VLLM_PYTHON) or INSTALLED)
    if python == INSTALLED and not python.exists():
        tessera = Path(sys.executable).with_name("tessera")
        install = [tessera, "engines", "install", "vllm", "--cpu"]
        subprocess.run(install, env={**os.environ, "XDG_DATA_HOME": str(DATA)}, check=True)
    chosen = sys.argv[1:] or ["-m", "vllm and not full", "--durations=15"]
    os.environ[VLLM_PYTHON] = str(python)
    os.environ["PYTHONPATH"] = str(ROOT / "src")  # an environment may be linked to another checkout
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *chosen])


if __name__ == "__main__":
    main()
