"""Prints as JSON which vLLM this environment has, and the GPUs that it finds: `python -m` this module."""

import sys

import msgspec

from tessera.engine.vllm import api
from tessera.errors import StartupError


def main() -> None:
    """Imports vLLM, which takes some seconds, so that an environment that is broken is found out."""
    try:
        package, number = api.installed_version()
        api.argument_names()
        gpus = None if api.is_for_processors() else api.accelerators()
    except (StartupError, ImportError, OSError, RuntimeError) as error:
        sys.exit(f"{sys.prefix}: {error}")
    devices = [{"name": gpus.name, "total_bytes": gpus.total_bytes}] * gpus.n if gpus else []
    described = {"package": package, "version": number, "python": sys.executable, "devices": devices}
    print(msgspec.json.encode(described).decode())


if __name__ == "__main__":
    main()
