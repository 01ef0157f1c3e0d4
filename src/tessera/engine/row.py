"""What the service knows of an engine: a row of the registry."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tessera.core.generation import Feature
from tessera.engine.base import Engine
from tessera.grammars.question import GrammarLimits
from tessera.models.cache import Cache
from tessera.models.progress import Progress
from tessera.models.source import ModelSource
from tessera.parsing.syntax import Syntax
from tessera.settings import Settings
from tessera.text.tokenizer import Tokenizer

Prepare: TypeAlias = Callable[[Settings, Cache, Progress], ModelSource]
"""Finds the model that the settings name, or makes it; may use the network. Raises `ModelError`."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """An engine that computes in a process of its own, which all processes of the service share.

    `factory` is the dotted name of a `host.core.CoreFactory`; `options` gives the engine's options, which the
    factory gets: plain data. `environment` is added to the few variables that the process inherits, and so
    are those of ours that begin with one of `inherits`. `python` finds the interpreter of an engine that has
    an environment of its own, where no setting names one. What exceeds the `grammar_limits` is never sent to
    it.
    """

    factory: str
    features: frozenset[Feature]
    options: Callable[[Settings, ModelSource], dict[str, object]]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    inherits: tuple[str, ...] = ()
    python: Callable[[], Path | None] = lambda: None
    grammar_limits: GrammarLimits = GrammarLimits()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class InProcess:
    """An engine that is part of each process of the service that needs it."""

    build: Callable[[Settings, ModelSource, Tokenizer, Syntax], Engine]


@dataclass(frozen=True, slots=True)
class EngineRow:
    """An engine: how its models are prepared, how their text is tokenised, and where it runs."""

    prepare: Prepare
    tokenizer: Callable[[Settings, ModelSource], Tokenizer]
    runs: Hosted | InProcess
