"""The bodies of the model list."""

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

from tessera.catalog import Model
from tessera.core.chat import Mode
from tessera.prompt.support import features


class Card(Struct):
    """A model as the client may name it. `max_model_len` is vLLM's name of the context length."""

    id: str
    created: int
    owned_by: str
    root: str
    context_length: int
    max_model_len: int
    modes: list[str]
    features: list[str]
    object: Literal["model"] = "model"


class CardList(Struct, rename={"cards": "data"}):
    """The body of GET /v1/models."""

    cards: list[Card]
    object: Literal["list"] = "list"


def card(name: str, model: Model, most_tokens: int | None = None) -> Card:
    """`name` is the id or alias under which the model is listed, `root` is its own id; `most_tokens` is the
    caller's window.
    """
    return Card(
        id=name,
        created=model.created_s,
        owned_by=model.owned_by,
        root=model.id,
        context_length=model.window_tokens(most_tokens),
        max_model_len=model.window_tokens(most_tokens),
        modes=[mode.value for mode in Mode if mode in model.sampling],
        features=features(model),
    )


def encode_card(name: str, model: Model, most_tokens: int | None = None) -> bytes:
    """The body of GET /v1/models/{id}."""
    return msgspec.json.encode(card(name, model, most_tokens))


def encode_cards(models: Iterable[tuple[str, Model]], most_tokens: int | None = None) -> bytes:
    """The body of GET /v1/models."""
    return msgspec.json.encode(CardList([card(name, model, most_tokens) for name, model in models]))
