import json

import pytest

from tessera.catalog import Catalog, Model
from tessera.core.chat import Mode
from tessera.core.generation import Feature, SamplingDefaults
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer
from tessera.formats.base import ChatFormat
from tessera.formats.hermes import HERMES
from tessera.parsing.syntax import Syntax
from tessera.wire.cards import encode_card, encode_cards


def test_a_model_is_listed_under_each_of_its_names() -> None:
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, model_id="some/model", context_tokens=99, features=("n", "grammar"))
    sampling = {Mode.DIRECT: SamplingDefaults()}
    format = ChatFormat("plain", lambda request: (), Syntax(ends=()), sampling)
    model = Model("some/model", engine, tokenizer, format, sampling, created_s=7)
    catalog = Catalog([model], {"nick": "some/model"}, "some/model")
    listed = json.loads(encode_cards(catalog.names()))
    assert listed["object"] == "list"
    assert [card["id"] for card in listed["data"]] == ["some/model", "nick"]
    assert listed["data"][1] == json.loads(encode_card("nick", model))
    assert listed["data"][1] == {
        "id": "nick",
        "object": "model",
        "created": 7,
        "owned_by": "tessera",
        "root": "some/model",
        "context_length": 99,
        "max_model_len": 99,
        "modes": ["direct"],
        "features": ["n", "structured_output", "tools"],
    }


def model_with(features: tuple[Feature, ...], modes: tuple[Mode, ...]) -> Model:
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, features=features)
    sampling = {mode: SamplingDefaults() for mode in modes}
    format = ChatFormat("plain", lambda request: (), Syntax(ends=()), sampling)
    return Model("some/model", engine, tokenizer, format, sampling, created_s=7)


DIRECT, BOTH = (Mode.DIRECT,), (Mode.DIRECT, Mode.THINKING)


@pytest.mark.parametrize(
    ("model", "modes", "features"),
    [
        (model_with((), DIRECT), ["direct"], []),
        (model_with(("grammar",), DIRECT), ["direct"], ["structured_output", "tools"]),
        (model_with(("thinking_budget",), DIRECT), ["direct"], []),
        (
            model_with(("thinking_budget", "logprobs"), BOTH),
            ["direct", "thinking"],
            ["logprobs", "thinking_budget"],
        ),
    ],
    ids=["nothing", "tools", "budget-without-thinking", "thinking"],
)
def test_a_card_names_what_requests_may_ask(model: Model, modes: list[str], features: list[str]) -> None:
    card = json.loads(encode_card("some/model", model))
    assert (card["modes"], card["features"]) == (modes, features)


@pytest.mark.parametrize(("most", "shown"), [(None, 2048), (100, 100), (5000, 2048)])
def test_the_window_is_the_caller_s(most: int | None, shown: int) -> None:
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, context_tokens=2048)
    model = Model("m", engine, tokenizer, HERMES, HERMES.sampling, created_s=0)
    card = json.loads(encode_card("m", model, most))
    assert (card["context_length"], card["max_model_len"]) == (shown, shown)
