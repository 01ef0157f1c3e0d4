"""A served model: an engine, its tokenizer and format, and the names that it answers to."""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from tessera.core.chat import Mode
from tessera.engine.base import Engine
from tessera.errors import ModelNotFound
from tessera.formats.base import ChatFormat, SamplingDefaults
from tessera.formats.remote import RemoteTemplate
from tessera.grammars.base import Grammars
from tessera.processes.sharing import FairThreads
from tessera.text.encoded import EncodedTexts
from tessera.text.tokenizer import Tokenizer

_N_ENCODERS = 2
"""Threads that encode long prompts: one account's prompts have one of them."""


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that a request needs of a model.

    `sampling` are its defaults per mode; `created_s` is Unix time; `encoded` remembers texts that the
    tokenizer has encoded, and `encoding` are the threads that encode long ones. Without a `renderer`, the
    format renders. A reply whose request sets no limit has `default_output_tokens` at most (None: what the
    context leaves), and a choice ends when its last `loop_tokens` tokens repeat one block (0: it goes on).
    """

    id: str
    engine: Engine
    tokenizer: Tokenizer
    format: ChatFormat
    sampling: Mapping[Mode, SamplingDefaults]
    created_s: int
    owned_by: str = "tessera"
    grammars: Grammars | None = None
    renderer: RemoteTemplate | None = None
    default_output_tokens: int | None = None
    loop_tokens: int = 0
    encoded: EncodedTexts = field(default_factory=EncodedTexts)
    encoding: FairThreads = field(default_factory=lambda: FairThreads(_N_ENCODERS, "encoding"))

    @property
    def context_tokens(self) -> int:
        """The most tokens of a request's prompt and output together."""
        return self.engine.info.context_tokens

    def window_tokens(self, most: int | None) -> int:
        """The context of a caller who may use `most` tokens of it."""
        return self.context_tokens if most is None else min(self.context_tokens, most)

    async def start(self) -> None:
        """Returns when the engine and the model's processes are ready.

        Raises `StartupError` if one of the processes cannot work, and `EngineUnavailable`.
        """
        await self.engine.start()
        for each in (self.grammars, self.renderer):
            if each:
                await each.start()

    async def aclose(self) -> None:
        """Closes the engine and ends the model's processes."""
        await self.engine.aclose()
        for each in (self.grammars, self.renderer):
            if each:
                await each.aclose()


class Catalog:
    """The models by name. Requests may give an alias; replies give the id of the model that answered."""

    def __init__(self, models: Iterable[Model], aliases: Mapping[str, str], default: str) -> None:
        """`aliases` maps a name to a model id; `default` answers requests that name no model."""
        self._models = {model.id: model for model in models}
        self._aliases = dict(aliases)
        self._default = default
        self._names_of = {
            id: frozenset({id, *(alias for alias, named in aliases.items() if named == id)})
            for id in self._models
        }

    def find(self, name: str | None, usable: Set[str] | None = None) -> Model:
        """The model of that id or alias; raises `ModelNotFound`, which names the models of which a name is
        `usable`; None is all.
        """
        wanted = self._default if name is None else name
        model = self._models.get(self._aliases.get(wanted, wanted))
        if model is None:
            shown = ", ".join(name for name, _ in self.names(usable))
            advice = f"Send one of: {shown}." if shown else "This key may use none that do."
            raise ModelNotFound(f"The model '{wanted[:200]}' does not exist here. {advice}", param="model")
        return model

    @property
    def default(self) -> Model:
        """The model that answers requests which name none."""
        return self.find(None)

    def models(self) -> tuple[Model, ...]:
        return tuple(self._models.values())

    def names(self, usable: Set[str] | None = None) -> list[tuple[str, Model]]:
        """Every name that `find` takes, ids before aliases, of the models of which a name is `usable`."""
        ids = dict.fromkeys([*self._models, *self._aliases])
        named = [(name, self._models[self._aliases.get(name, name)]) for name in ids]
        return [each for each in named if usable is None or not usable.isdisjoint(self.names_of(each[1]))]

    def names_of(self, model: Model) -> frozenset[str]:
        """Every name that `find` takes for it."""
        return self._names_of[model.id]
