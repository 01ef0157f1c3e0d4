"""The engines, by the name that the setting `engine` gives."""

from tessera.engine.llamacpp.row import LLAMACPP
from tessera.engine.openvino.row import OPENVINO
from tessera.engine.row import EngineRow
from tessera.engine.scripted.row import SCRIPTED
from tessera.errors import StartupError
from tessera.settings import Settings

ENGINES: dict[str, EngineRow] = {"openvino": OPENVINO, "llamacpp": LLAMACPP, "scripted": SCRIPTED}


def engine_row(settings: Settings) -> EngineRow:
    """The row of the engine that the settings name; raises `StartupError`."""
    row = ENGINES.get(settings.engine)
    if row is None:
        raise StartupError(f"engine is {settings.engine!r}: one of {', '.join(ENGINES)} is needed.")
    return row
