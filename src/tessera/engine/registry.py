"""The engines, by the name that the setting `engine` gives."""

from dataclasses import replace

from tessera.engine.llamacpp.install import has_library
from tessera.engine.llamacpp.row import LLAMACPP
from tessera.engine.openvino.row import OPENVINO
from tessera.engine.row import EngineRow
from tessera.engine.scripted.row import SCRIPTED
from tessera.engine.vllm.row import VLLM
from tessera.errors import StartupError
from tessera.models.cache import Cache
from tessera.models.choice import choose_engine
from tessera.models.progress import Progress
from tessera.settings import Settings

ENGINES: dict[str, EngineRow] = {
    "openvino": OPENVINO,
    "llamacpp": LLAMACPP,
    "vllm": VLLM,
    "scripted": SCRIPTED,
}


AUTO = "auto"


def with_engine(settings: Settings, cache: Cache, progress: Progress) -> Settings:
    """The settings with an engine's name in place of `auto`; raises `ModelError` and `StartupError`."""
    if settings.engine != AUTO:
        return settings
    choice = choose_engine(
        settings.model,
        cache,
        progress,
        on_gpu=bool(settings.gpu_layers),
        has_llamacpp=has_library(settings.llama_library),
        offline=settings.offline,
    )
    if settings.model is not None:
        progress.note(f"The engine is {choice.engine}, because {choice.reason}.")
    return replace(settings, engine=choice.engine)


def check_engine(settings: Settings) -> None:
    """Raises `StartupError` unless the settings name an engine, or leave it open."""
    if settings.engine != AUTO:
        engine_row(settings)


def engine_row(settings: Settings) -> EngineRow:
    """The row of the engine that the settings name; raises `StartupError`."""
    row = ENGINES.get(settings.engine)
    if row is None:
        raise StartupError(f"engine is {settings.engine!r}: one of {', '.join((AUTO, *ENGINES))} is needed.")
    return row
