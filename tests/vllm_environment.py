"""`make test-vllm`: the tests of the vLLM engine, after vLLM was installed into `.vllm`, once.

Arguments are those of pytest; without any, all but the full counts are run.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.hosted import ROOT, VLLM_PYTHON

DATA = ROOT / ".vllm"
PYTHON = DATA / "tessera/engines/vllm/bin/python"


def main() -> None:
    if not PYTHON.exists():
        tessera = Path(sys.executable).with_name("tessera")
        install = [tessera, "engines", "install", "vllm", "--cpu"]
        subprocess.run(install, env={**os.environ, "XDG_DATA_HOME": str(DATA)}, check=True)
    chosen = sys.argv[1:] or ["-m", "vllm and not full"]
    os.environ[VLLM_PYTHON] = str(PYTHON)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *chosen])


if __name__ == "__main__":
    main()
