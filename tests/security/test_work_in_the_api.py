"""What an API process itself does with a client's schema, in its event loop and its threads, is bounded.

It is counted in calls of functions, over schemas that would be dear to analyse. All that is dear is for the
processes that can be killed; here they answer at once.
"""

import json
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from tests.scripts import CAN_ALL
from tests.unit.schemas.test_work import LINEAR, SQUARE

from tessera.catalog import Model
from tessera.core.chat import Caller
from tessera.core.record import Tally
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, saying
from tessera.formats.base import ChatFormat
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.grammars.checker import GrammarCheck
from tessera.grammars.question import GrammarAnswer
from tessera.pipeline import run
from tessera.processes.pool import ProcessPool
from tessera.schemas.validation_question import ValidationProblem
from tessera.wire.decode import decode_request

pytestmark = pytest.mark.anyio

CALLS_PER_BYTE = 8
"""Reading, rendering and encoding the request among them."""
CALLS_PER_VALUE = 120_000
"""To find out what a value that may be of several types is read as: see `schemas.short_check`."""
FEW_CALLS = 20_000
"""What a small request and its reply take."""


LEAF: dict[str, Any] = {"type": ["string", "integer", "null", "object", "array"], "not": {}}
"""By its types it may be any of the texts below, and none is valid: only a check of all parts shows it."""


def chain(n: int, link: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    definitions = {f"d{i}": link({"$ref": f"#/$defs/d{i + 1}"}) for i in range(n)}
    first = {"$ref": "#/$defs/d0"}
    parameters = {"type": "object", "properties": dict.fromkeys("abcdefgh", first), "anyOf": [first, first]}
    return {**parameters, "$defs": {**definitions, f"d{n}": LEAF}}


def twice(word: str) -> Callable[[dict[str, Any]], Any]:
    return lambda to: {word: [to, {"allOf": [to]}]}


SCHEMAS: dict[str, dict[str, Any]] = {
    **{name: make(120) for name, make in (LINEAR | SQUARE).items()},
    **{f"a fan-out by {word}": chain(60, twice(word)) for word in ("anyOf", "oneOf", "allOf")},
    "a fan-out of items": chain(60, lambda to: {"type": "array", "prefixItems": [to, to], "items": to}),
    "a fan-out of members": chain(60, lambda to: {"properties": {"a": to, "b": to}, "required": ["a"]}),
    "circles": {
        "properties": {name: {"$ref": "#/$defs/a"} for name in "abcdef"},
        "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"allOf": [{"$ref": "#/$defs/a"}]}]}},
    },
}
TEXTS = ("5", "null", '"x"', "[[1], {}]", '{"a": {"a": [1]}}', "x y")


class Answering(ProcessPool):
    """A pool of processes that answers at once."""

    def __init__(self, answer: bytes) -> None:
        super().__init__("none", b"", purpose="nothing")
        self._said = answer

    async def ask(self, question: bytes, account: bytes | None = None) -> bytes:
        return self._said


def model_of(chat_format: ChatFormat) -> Model:
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, features=CAN_ALL)
    check = GrammarCheck(tokenizer.control_tokens, tokenizer.vocabulary_size, chat_format.syntax)
    check._grammars = Answering(msgspec.json.encode(GrammarAnswer(lark="start: /a/")))
    check._validators = Answering(msgspec.json.encode(ValidationProblem()))
    return Model("m", engine, tokenizer, chat_format, chat_format.sampling, created_s=0, grammars=check)


def call(chat_format: ChatFormat, names: Sequence[str]) -> str:
    """A call with texts as arguments of parameters that may have any type."""
    if chat_format is HERMES:
        arguments = dict(zip(names, TEXTS, strict=False))
        return f"<tool_call>\n{json.dumps({'name': 'f', 'arguments': arguments})}\n</tool_call>"
    written = "".join(
        f"<parameter={name}>\n{text}\n</parameter>\n" for name, text in zip(names, TEXTS, strict=False)
    )
    return f"<tool_call>\n<function=f>\n{written}</function>\n</tool_call>"


async def n_calls(model: Model, body: bytes, most: int) -> int:
    """The number of calls in all threads, from a request's body to the last event of its reply. The work ends
    when they are too many.
    """
    counts: dict[int, int] = {}

    def count(frame: object, event: str, arg: object) -> None:
        if event in ("call", "c_call"):
            id = threading.get_ident()
            counts[id] = counts.get(id, 0) + 1
            assert counts[id] <= most, "too many calls"

    sys.setprofile(count)
    threading.setprofile(count)
    try:
        request, _ = decode_request(body)
        n_events = 0
        async for batch in run(request, model, Caller(b"salt"), Tally()):
            n_events += len(batch)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert n_events
    return sum(counts.values())


@pytest.mark.parametrize("chat_format", [QWEN3, HERMES], ids=["xml", "json"])
@pytest.mark.parametrize("name", SCHEMAS)
async def test_work_on_a_clients_schema_is_bounded_by_its_bytes(name: str, chat_format: ChatFormat) -> None:
    schema = SCHEMAS[name]
    model = model_of(chat_format)
    assert isinstance(model.engine, ScriptedEngine)
    names = [*schema.get("properties", {}), "unlisted"][: len(TEXTS)]
    model.engine.script = saying(model.tokenizer, call(chat_format, names))
    messages: list[Any] = [{"role": "user", "content": "Hi"}]
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    answer = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    body = json.dumps({"messages": messages, "tools": [tool], "response_format": answer}).encode()
    most = FEW_CALLS + CALLS_PER_BYTE * len(body) + CALLS_PER_VALUE * len(names)
    assert await n_calls(model, body, most) <= most
