"""Tessera: a server for chat completions with open models.

What stands in `__all__` is the public Python API; everything else may change. Each name is imported when it
is first used, so that `import tessera` costs nothing:

    import os

    import uvicorn
    from tessera import create_app, load_settings

    uvicorn.run(create_app(load_settings({"engine": "scripted"}, os.environ)), http="h11")
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tessera.configuration import load as load_settings
    from tessera.engine.base import Engine as Engine
    from tessera.errors import TesseraError as TesseraError
    from tessera.server.asgi import create_app as create_app
    from tessera.settings import Settings as Settings

__version__ = "0.1.0"
__all__ = ["Engine", "Settings", "TesseraError", "create_app", "load_settings"]

_SOURCES = {
    "Engine": "tessera.engine.base:Engine",
    "Settings": "tessera.settings:Settings",
    "TesseraError": "tessera.errors:TesseraError",
    "create_app": "tessera.server.asgi:create_app",
    "load_settings": "tessera.configuration:load",
}


def __getattr__(name: str) -> object:
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _SOURCES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
