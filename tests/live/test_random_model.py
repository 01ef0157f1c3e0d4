"""The guarantee does not depend on a clever model: random weights, temperature 2, random schemas and tools.

Every reply that ends by itself parses and validates; none needed the last check to fail for that.
"""

import asyncio
import json
import math
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import jsonschema_rs
import pytest
from tests.folding import fold
from tests.hosted import changed, llama_start, openvino_start, private, tokenizer_of
from tests.qwen_words import qwen_words
from tests.tiny_architectures import Architecture, write_architecture
from tests.tiny_model import Words, byte_words, words_of, write_gguf

from tessera.catalog import Model
from tessera.core.chat import (
    AnswerFormat,
    AnyJsonObject,
    Caller,
    ChatRequest,
    FreeText,
    JsonSchema,
    Mode,
    SamplingOptions,
    Tool,
    ToolChoice,
    UserMessage,
)
from tessera.core.events import ChatEvent, FinishReason
from tessera.core.record import Tally
from tessera.core.result import Choice
from tessera.engine.host.private import PrivateEngine
from tessera.engine.llamacpp.files import GGUF
from tessera.engine.openvino.convert import IR
from tessera.engine.vllm.row import LIMITS as VLLM_LIMITS
from tessera.formats.base import ChatFormat
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.grammars.checker import GrammarCheck
from tessera.grammars.question import GrammarLimits
from tessera.models.cache import Cache
from tessera.models.gguf import read_metadata
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve
from tessera.models.source import ModelSource
from tessera.pipeline import run
from tessera.text.hf import HfTokenizer

pytestmark = [pytest.mark.live, pytest.mark.anyio]

N_SETS = 40
"""Of schemas and tools, for each of the combinations below: 200 for each engine."""
SMOKE = slice(None, None, 12)
N_SEEDS, N_CHOICES = 5, 2
N_AT_ONCE = 16
MAX_TOKENS = 200

# What ends a string, a value or a turn, and what begins a call. A random model says it as seldom as anything
# else: it is given a bias, so that three tokens in a hundred are such a one.
LIKELY = ('"', '"}', '", "', "}", "]", "\n", "\n</parameter>\n", "</think>", "<tool_call>", "</tool_call>")
LIKELY += ("<|im_end|>",)
PATTERNS = ("^[a-z]{1,5}$", r"^\d{2}-\d{2}$", "^(yes|no|ño)$", r"^\S{0,3}$", "^a+b?$")
FORMATS = ("date", "time", "uuid", "ipv4", "email")
NAMES = ("a", "city", "n_days", "año", "x-y", "kind", "tags", "type")
CONSTANTS = ("red", "it's", 'a "b"', "null", "", "ñ/😀", 3, 2.5, True, None, [1, "x"], {"k": False})


class Shapes:
    """Random schemas, small enough for a random reply to end, and all of them enforceable."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self._kinds = [
            self.integer, self.number, self.string, self.pattern, self.format, self.constants, self.types,
            self.array, self.pair, self.object, self.union, self.joined, self.referring,
        ]  # fmt: skip

    def value(self, depth: int) -> dict[str, Any]:
        kinds = self._kinds if depth else self._kinds[:7]
        return self.chance.choice(kinds)(depth - 1)

    def integer(self, _: int) -> dict[str, Any]:
        low = self.chance.randint(-50, 50)
        limits = {"minimum": low, "exclusiveMaximum": low + self.chance.randint(3, 5000)}
        return {"type": "integer", **limits, **self.chance.choice([{}, {"multipleOf": 3}])}

    def number(self, _: int) -> dict[str, Any]:
        return {"type": "number", "minimum": -1.5, "maximum": self.chance.choice([0.25, 7, 1000])}

    def string(self, _: int) -> dict[str, Any]:
        least = self.chance.randint(0, 3)
        return {"type": "string", "minLength": least, "maxLength": least + self.chance.randint(0, 12)}

    def pattern(self, _: int) -> dict[str, Any]:
        return {"type": "string", "pattern": self.chance.choice(PATTERNS)}

    def format(self, _: int) -> dict[str, Any]:
        return {"type": "string", "format": self.chance.choice(FORMATS)}

    def constants(self, _: int) -> dict[str, Any]:
        return {"enum": self.chance.sample(CONSTANTS, self.chance.randint(1, 4))}

    def types(self, _: int) -> dict[str, Any]:
        return {"type": self.chance.choice(["boolean", "null", ["boolean", "null"], "string"])}

    def array(self, depth: int) -> dict[str, Any]:
        least = self.chance.randint(0, 2)
        return {"type": "array", "items": self.value(depth), "minItems": least, "maxItems": least + 1}

    def pair(self, depth: int) -> dict[str, Any]:
        return {"type": "array", "prefixItems": [self.value(depth), self.value(depth)], "items": False}

    def object(self, depth: int) -> dict[str, Any]:
        names = self.chance.sample(NAMES, self.chance.randint(0, 4))
        return {
            "type": "object",
            "properties": {name: self.value(depth) for name in names},
            "required": names[: self.chance.randint(0, len(names))],
            "additionalProperties": False,
        }

    def union(self, depth: int) -> dict[str, Any]:
        return {"anyOf": [self.value(depth), self.value(depth), {"type": "null"}]}

    def joined(self, depth: int) -> dict[str, Any]:
        return {"allOf": [self.object(depth), {"type": "object"}]}

    def referring(self, depth: int) -> dict[str, Any]:
        node = {
            "type": "object",
            "properties": {
                "value": self.value(0),
                "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/n"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
        return {"$ref": "#/$defs/n", "$defs": {"n": node}} if depth >= 2 else self.value(0)

    def tools(self) -> tuple[Tool, ...]:
        tools: list[Tool] = []
        for name in self.chance.sample(["now", "find", "find_all", "Set-2", "x"], self.chance.randint(1, 4)):
            parameters = {} if name == "now" else self.object(2)
            definition = {"type": "function", "function": {"name": name, "parameters": parameters}}
            tools.append(Tool(name, parameters, definition))
        return tuple(tools)


def make_request(seed: int, bias: dict[int, float]) -> ChatRequest:
    """One of the 200 requests: with tools, a schema, or both."""
    chance = random.Random(seed)
    shapes = Shapes(chance)
    answer: AnswerFormat = chance.choice([FreeText(), AnyJsonObject(), JsonSchema("x", shapes.value(3))])
    tools = shapes.tools() if chance.random() < 0.6 or isinstance(answer, FreeText) else ()
    one = frozenset(tool.name for tool in tools[:1])
    choices = [
        ToolChoice("auto"), ToolChoice("required"), ToolChoice("required"), ToolChoice("auto", one),
        ToolChoice("required", one, named=True), ToolChoice("none"),
    ]  # fmt: skip
    thinking = chance.random() < 0.5
    return ChatRequest(
        (UserMessage("Go."),),
        mode=Mode.THINKING if thinking else Mode.DIRECT,
        tools=tools,
        tool_choice=chance.choice(choices) if tools else ToolChoice(),
        parallel_tool_calls=chance.random() < 0.5,
        answer_format=answer,
        sampling=SamplingOptions(temperature=2, top_p=1, top_k=0, presence_penalty=0, logit_bias=bias),
        max_output_tokens=MAX_TOKENS,
        thinking_budget_tokens=chance.choice([0, 1, 7, 20]) if thinking else None,
        n=N_CHOICES,
        top_logprobs=chance.choice([None, None, None, 2]),
    )


def likely_bias(tokenizer: HfTokenizer) -> dict[int, float]:
    spelled = {
        tokenizer.token_bytes(id).decode(errors="replace"): id for id in range(tokenizer.vocabulary_size)
    }
    likely = 2 * math.log(0.03 * tokenizer.vocabulary_size)
    return {spelled[text]: likely for text in LIKELY if text in spelled}


Vocabulary = Literal["bytes", "embedded", "qwen3.6"]


@dataclass(frozen=True)
class Setup:
    """A vocabulary and a way to write calls. With an `architecture`, the engine is llama.cpp."""

    id: str
    format: ChatFormat
    tags_are_tokens: bool
    vocabulary: Vocabulary = "bytes"
    architecture: Architecture | None = None
    on_vllm: bool = False
    """On a Qwen3.6 of random weights in vLLM, which has a vocabulary of its own."""

    def words(self, folder: ModelSource) -> Words:
        match self.vocabulary:
            case "bytes":
                return byte_words(tags_are_tokens=self.tags_are_tokens)
            case "embedded":
                return words_of(read_metadata(next(folder.folder.glob("*.gguf"))).fields)
            case "qwen3.6":
                return qwen_words()


SPELLED_XML = replace(HERMES, syntax=replace(HERMES.syntax, calls="xml"))
SETUPS = (
    Setup("json", HERMES, tags_are_tokens=True),
    Setup("json-spelled", HERMES, tags_are_tokens=False),
    Setup("xml", QWEN3, tags_are_tokens=True),
    Setup("xml-spelled", SPELLED_XML, tags_are_tokens=False),
    Setup("json-embedded-vocabulary", HERMES, tags_are_tokens=False, vocabulary="embedded"),
    Setup("llamacpp-json", HERMES, tags_are_tokens=True, architecture="llama"),
    Setup("llamacpp-json-spelled", HERMES, tags_are_tokens=False, architecture="gpt-oss"),
    Setup("llamacpp-xml", QWEN3, tags_are_tokens=True, architecture="qwen35"),
    Setup("llamacpp-xml-spelled", SPELLED_XML, tags_are_tokens=False, architecture="gemma3"),
    Setup("llamacpp-qwen3.6", QWEN3, tags_are_tokens=True, vocabulary="qwen3.6", architecture="qwen35moe"),
    Setup("xml-on-vllm", QWEN3, tags_are_tokens=True, on_vllm=True),
)


@asynccontextmanager
async def started(
    setup: Setup, request: pytest.FixtureRequest, embedded: ModelSource, folder: Path
) -> AsyncIterator[Model]:
    """A model of random weights in an engine process of its own. Grammars are tried first, as in
    the service.
    """
    if setup.on_vllm:
        made: ModelSource = request.getfixturevalue("vllm_qwen")
        config = changed(request.getfixturevalue("vllm_qwen_start"), max_sequences=N_AT_ONCE * N_CHOICES)
    else:
        path = folder / "tiny.gguf"
        if setup.architecture:
            write_architecture(path, setup.architecture, setup.words(embedded))
        else:
            write_gguf(path, setup.words(embedded))
        form = GGUF if setup.architecture else IR
        made = await asyncio.to_thread(resolve, str(path), Cache(folder / "cache"), Quiet(), form)
        start = llama_start if setup.architecture else openvino_start
        config = start(
            made,
            tokenizer_of(made).vocabulary_size,
            model_id="tiny",
            kv_cache_bytes=2**26,
            max_sequences=N_AT_ONCE * N_CHOICES,
            step_tokens=512,
        )
    tokenizer = tokenizer_of(made)
    engine = private(config)
    check = GrammarCheck(
        tokenizer.control_tokens,
        tokenizer.vocabulary_size,
        setup.format.syntax,
        limits=VLLM_LIMITS if setup.on_vllm else GrammarLimits(),
        deadline_s=200,
        wait_s=100,
    )
    model = Model("tiny", engine, tokenizer, setup.format, setup.format.sampling, 1, grammars=check)
    try:
        await engine.start()
        yield model
    finally:
        await model.aclose()


def marks(setup: Setup, *others: pytest.MarkDecorator) -> list[pytest.MarkDecorator]:
    return [*others, *([pytest.mark.vllm] if setup.on_vllm else [])]


EVERY = [
    pytest.param(setup, slice(None), id=f"{setup.id}-full", marks=marks(setup, pytest.mark.full))
    for setup in SETUPS
]
FEW = [
    pytest.param(setup, SMOKE, id=setup.id, marks=marks(setup))
    for setup in SETUPS
    if setup.vocabulary != "embedded"
]


@pytest.mark.parametrize(("setup", "sets"), FEW + EVERY)
async def test_every_finished_reply_is_what_was_asked_for(
    setup: Setup, sets: slice, request: pytest.FixtureRequest, model_folder: ModelSource, tmp_path: Path
) -> None:
    if setup.architecture:
        request.getfixturevalue("llama_start")  # skips without a library
    found: Counter[str] = Counter()
    async with started(setup, request, model_folder, tmp_path) as model:
        assert isinstance(model.tokenizer, HfTokenizer)
        first = SETUPS.index(setup) * N_SETS
        bias = likely_bias(model.tokenizer)
        requests = [make_request(first + i, bias) for i in range(N_SETS)[sets]]
        gate = asyncio.Semaphore(N_AT_ONCE)

        async def generate(asked: ChatRequest, seed: int) -> None:
            seeded = replace(asked, sampling=replace(asked.sampling, seed=seed * N_CHOICES))
            async with gate:
                events = [e async for batch in run(seeded, model, Caller(), Tally()) for e in batch]
            check_reply(seeded, setup, events, found)

        await asyncio.gather(*(generate(r, seed) for r in requests for seed in range(N_SEEDS)))
        assert isinstance(model.engine, PrivateEngine)
        assert model.engine.gauges["blocks_used"] == 0
    n_ended = found["stop"] + found["tool_calls"]
    assert n_ended + found["length"] == len(requests) * N_SEEDS * N_CHOICES
    assert n_ended >= found["length"], "too few replies end for this to prove anything"
    assert found["calls"]


def check_reply(request: ChatRequest, setup: Setup, events: list[ChatEvent], found: Counter[str]) -> None:
    reply = fold(events)
    assert reply.usage.completion_tokens <= MAX_TOKENS * request.n
    for choice in reply.choices:
        found[choice.finish_reason.value] += 1
        found["calls"] += len(choice.tool_calls)
        if choice.reasoning and not setup.tags_are_tokens and request.tools:
            assert "<tool_call>" not in choice.reasoning
        check_calls(request, choice)
        if choice.finish_reason is not FinishReason.LENGTH:
            check_finished(request, choice)


def check_calls(request: ChatRequest, choice: Choice) -> None:
    """Checks that every whole call is valid: all except a last one that the length has cut."""
    parameters = {tool.name: tool.parameters for tool in request.tools}
    callable = request.tool_choice.names or parameters.keys()
    cut = choice.finish_reason is FinishReason.LENGTH
    for call in choice.tool_calls[: -1 if cut else None]:
        assert call.name in callable
        assert is_valid(call.arguments, {"type": "object", **parameters[call.name]}), call


def check_finished(request: ChatRequest, choice: Choice) -> None:
    n_calls, wanted = len(choice.tool_calls), request.tool_choice
    assert n_calls <= 1 or not request.one_call
    assert n_calls or wanted.mode != "required"
    assert not n_calls or wanted.mode != "none"
    named = wanted.named or not n_calls
    assert choice.finish_reason is (FinishReason.STOP if named else FinishReason.TOOL_CALLS)
    match request.answer_format:
        case JsonSchema(schema=schema) if not n_calls:
            assert is_valid(choice.text or "", schema), choice
        case AnyJsonObject() if not n_calls:
            assert is_valid(choice.text or "", {"type": "object"}), choice
        case _:
            pass


def is_valid(text: str, schema: Any) -> bool:
    """Whether a JSON text is valid, by a validator that is not the service's."""
    value = json.loads(text, parse_float=Decimal)
    return jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(value)
