"""Prints as JSON which vLLM this environment has, and the GPUs that it finds: `python -m` this module."""

import sys

import msgspec

from tessera.engine.vllm import api
from tessera.errors import StartupError


def main() -> None:
    """Imports vLLM, which takes some seconds, so that an environment that is broken is found out."""
    try:
        package, version = api.installed_version()
        for_processors = api.is_for_processors()
        api.argument_names()
    except (StartupError, ImportError, OSError, RuntimeError) as error:
        sys.exit(f"{sys.prefix}: {error}")
    described = {
        "package": package,
        "version": version,
        "python": sys.executable,
        "for_processors": for_processors,
        "devices": [] if for_processors else _gpus(),
    }
    print(msgspec.json.encode(described).decode())


def _gpus() -> list[dict[str, object]]:
    """None are found where the environment is made for another machine, such as in an image."""
    try:
        gpus = api.accelerators()
    except StartupError:
        return []
    return [{"name": gpus.name, "total_bytes": gpus.total_bytes}] * gpus.n


if __name__ == "__main__":
    main()
