"""The machine that figures were measured on."""

import os
import platform
from pathlib import Path


def machine() -> dict[str, str | int]:
    """Describe the processor, memory, system and Python of this machine."""
    memory = _field("/proc/meminfo", "MemTotal")
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": os.cpu_count() or 1,
        "memory": memory or "unknown",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def _field(path: str, name: str) -> str:
    """The value of the first line of that name; empty if there is no such file."""
    lines = Path(path).read_text().splitlines() if Path(path).exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
