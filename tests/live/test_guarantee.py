"""The guarantee, live: whatever ends on the embedded model, at temperature 1, parses and validates.

Requests are drawn from tools and schemas as clients send them, every way a reply can be asked for. Replies
are judged by a validator of its own.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

import jsonschema_rs
import openai
import pytest
from openai.lib._pydantic import to_strict_json_schema
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.hosted import VLLM, changed, private, tokenizer_of
from tests.limits import LIMITS
from tests.templates import choose_format

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.engine.host.frames import Start
from tessera.grammars.checker import GrammarCheck
from tessera.http.app import build_app
from tessera.http.service import Service
from tessera.models.source import ModelSource

pytestmark = pytest.mark.live

KEY = "sk-tessera-" + "g" * 40
N_AT_ONCE = 16
MAX_TOKENS = 100
REPLY_S = 1200.0
"""As long as a reply may take, on a machine that is busy with something else."""
CLOSING_TOKENS = 4
"""The embedded model spells `</think>`; a budget below that is spent on it."""
COUNTS = [pytest.param(12, id="smoke"), pytest.param(200, id="full", marks=pytest.mark.full)]

Parameters = dict[str, Any]


class Closed(BaseModel, extra="forbid"):
    pass


class Guest(Closed):
    name: Annotated[str, Field(max_length=20)]
    age: Annotated[int, Field(ge=0, le=120)]


class Booking(Closed):
    """A table in a restaurant."""

    day: date
    guests: Annotated[list[Guest], Field(min_length=1, max_length=2)]
    area: Literal["terrace", "inside"] | None
    smoking: bool


class Node(Closed):
    value: Annotated[int, Field(ge=-9, le=9)]
    next: "Node | None"


def an_object(required: int, **properties: Any) -> Parameters:
    """A schema of an object whose first `required` properties are required, without additional properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties][:required],
        "additionalProperties": False,
    }


SHORT = {"type": "string", "maxLength": 24}
WEATHER = an_object(
    2,
    city=SHORT,
    days={"type": "integer", "minimum": 1, "maximum": 7},
    unit={"type": "string", "enum": ["celsius", "fahrenheit"]},
)
SCHEMAS: dict[str, Parameters] = {
    "get_weather": WEATHER,
    "book_table": to_strict_json_schema(Booking),
    "book_by_ref": Booking.model_json_schema(),
    "make_list": to_strict_json_schema(Node),
    "now": {},
    "nothing": {"type": "object", "properties": {}},
    "traducir": an_object(
        3, año={"type": "integer", "minimum": 1900}, idioma={"enum": ["español", "日本語"]}, texto=SHORT
    ),
    "set_lights": an_object(
        1,
        rooms={
            "type": "array",
            "items": an_object(2, id={"type": "string", "pattern": "^[a-z]{2,8}$"}, on={"type": "boolean"}),
            "minItems": 1,
            "maxItems": 3,
        },
        level={"type": "number", "minimum": 0, "maximum": 1},
    ),
    "search": an_object(1, query={"type": "string"}, limit={"type": ["integer", "null"], "maximum": 50}),
    "send": an_object(
        2, to={"type": "string", "format": "email"}, kind={"const": "mail"}, when={"$ref": "#/$defs/t"}
    )
    | {"$defs": {"t": {"type": "string", "format": "date-time"}}},
}
ANSWERS = {name: schema for name, schema in SCHEMAS.items() if schema.get("properties")}
TASKS = (
    "What is the weather in León this week?",
    "Book a table for Ana and Luis tomorrow.",
    "Turn on the lights in the kitchen.",
    "Tell me something about the sea.",
    "Traduce «hello» al español.",
    "Find papers about dragons, then mail them to me@example.com.",
)


def tool(name: str) -> dict[str, Any]:
    function = {"name": name, "description": name.replace("_", " ").capitalize() + "."}
    if SCHEMAS[name]:
        function |= {"parameters": SCHEMAS[name]}
    return {"type": "function", "function": function}


TOOL_SETS = [
    ["get_weather", "now", "search"],
    ["book_table", "traducir"],
    ["set_lights", "send", "nothing"],
    ["book_by_ref", "make_list", "get_weather"],
]


@dataclass(frozen=True)
class Asked:
    """A request, and what its reply may have: `least` to `most` calls to `names`, or an `answer`."""

    body: dict[str, Any]
    stream: bool
    names: tuple[str, ...] = ()
    least: int = 0
    most: int = 99
    named: bool = False
    answer: Parameters | None = None


def a_body(chance: random.Random) -> dict[str, Any]:
    thinking = chance.random() < 0.4
    extra: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": thinking}}
    if thinking and chance.random() < 0.85:
        extra["thinking_token_budget"] = chance.choice([0, 1, 8, 24])
    return {
        "model": "tessera",
        "messages": [{"role": "user", "content": chance.choice(TASKS)}],
        "temperature": 1,
        "seed": chance.randrange(10**6),
        "max_completion_tokens": MAX_TOKENS,
        "n": chance.choice([1, 1, 1, 2]),
        "logprobs": chance.random() < 0.2,
        "extra_body": extra,
    }


def ask_for_calls(seed: int) -> Asked:
    chance = random.Random(seed)
    names = TOOL_SETS[seed % len(TOOL_SETS)]
    one = chance.choice(names)
    function = {"type": "function", "function": {"name": one}}
    few = {"mode": chance.choice(["auto", "required"]), "tools": [function]}
    choice = chance.choice(
        [
            "auto",
            "auto",
            "required",
            "required",
            function,
            {"type": "allowed_tools", "allowed_tools": few},
            "none",
        ]
    )
    restricted = isinstance(choice, dict)
    forced = choice in ("required", function) or (
        choice != function and restricted and few["mode"] == "required"
    )
    parallel = chance.random() < 0.25
    body = a_body(chance) | {"tools": list(map(tool, names)), "tool_choice": choice}
    answer = chance.choice([None, None, None, WEATHER])
    if answer is not None:
        body["response_format"] = json_schema(answer)
    return Asked(
        body | {"parallel_tool_calls": parallel},
        stream=chance.random() < 0.5,
        names=(one,) if restricted else tuple(names),
        least=int(forced),
        most=0 if choice == "none" else 99 if parallel and choice != function else 1,
        named=choice == function,
        answer=answer,
    )


def ask_for_json(seed: int) -> Asked:
    chance = random.Random(seed)
    answer: Parameters = chance.choice([*ANSWERS.values(), {"type": "object"}])
    form = json_schema(answer) if "properties" in answer or "$ref" in answer else {"type": "json_object"}
    return Asked(a_body(chance) | {"response_format": form}, chance.random() < 0.5, most=0, answer=answer)


def json_schema(schema: Parameters) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@dataclass
class Said:
    """One choice of a reply, either whole or joined from its deltas."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)
    finish: str | None = None

    def add(self, choice: Any, delta: Any) -> None:
        self.finish = choice.finish_reason
        for token in choice.logprobs.content if choice.logprobs else ():
            self.scored += token.bytes
        self.content.append(delta.content or "")
        self.reasoning.append(getattr(delta, "reasoning_content", None) or "")
        for call in delta.tool_calls or ():
            if call.id:
                assert getattr(call, "index", len(self.calls)) == len(self.calls)
                self.calls.append((call.function.name, []))
            self.calls[-1][1].append(call.function.arguments or "")


@dataclass(frozen=True)
class Guaranteed:
    """A service. One that has no `budgets` refuses them: its engine cannot count up to a closing tag that is
    ordinary text, as it is in the embedded model.
    """

    url: str
    budgets: bool


@pytest.fixture(scope="module", params=["openvino_start", "llama_start", VLLM])
def guaranteed(
    request: pytest.FixtureRequest,
    model_folder: ModelSource,
    run_app: Callable[[ASGIApp], AbstractContextManager[int]],
) -> Iterator[Guaranteed]:
    """The service with its usual settings, but a longer deadline for trying grammars, since 16 clients come
    at once.
    """
    config: Start = request.getfixturevalue(request.param)
    tokenizer = tokenizer_of(model_folder)
    control = tokenizer.control_tokens
    chat_format = choose_format(
        model_folder.chat_template, control_tokens=control.keys(), eos=model_folder.eos_token
    )
    engine = private(changed(config, max_sequences=N_AT_ONCE))
    check = GrammarCheck(control, tokenizer.vocabulary_size, chat_format.syntax, deadline_s=200, wait_s=100)
    model = Model("tessera", engine, tokenizer, chat_format, chat_format.sampling, 1, grammars=check)
    app = build_app(Service(catalog=Catalog([model], {}, model.id), keys=Keys([KEY]), limits=LIMITS))

    async def starting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await engine.start()
        await app(scope, receive, send)

    with run_app(starting) as port:
        yield Guaranteed(f"http://127.0.0.1:{port}/v1", budgets="vllm" not in request.param)


async def ask(client: openai.AsyncOpenAI, asked: Asked) -> tuple[list[Said], Any]:
    """Returns the choices and the usage of the reply."""
    choices = [Said() for _ in range(asked.body["n"])]
    if not asked.stream:
        reply: ChatCompletion = await client.chat.completions.create(**asked.body)
        for choice in reply.choices:
            choices[choice.index].add(choice, choice.message)
        return choices, reply.usage
    stream = await client.chat.completions.create(
        **asked.body, stream=True, stream_options={"include_usage": True}
    )
    usage = None
    async for chunk in stream:
        usage = chunk.usage
        for choice in chunk.choices:
            assert choices[choice.index].finish is None
            choices[choice.index].add(choice, choice.delta)
    return choices, usage


def check_usage(asked: Asked, usage: Any) -> None:
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens <= MAX_TOKENS * asked.body["n"]
    assert usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens
    reasoning = usage.completion_tokens_details.reasoning_tokens
    assert reasoning <= usage.completion_tokens
    if (budget := asked.body["extra_body"].get("thinking_token_budget")) is not None:
        # A character that has begun is finished first.
        assert reasoning <= (max(budget, CLOSING_TOKENS) + 3) * asked.body["n"]


def check(asked: Asked, said: Said) -> None:
    """Checks that what is finished is valid. A choice cut by its length is valid except for its last call."""
    cut = said.finish == "length"
    for name, arguments in said.calls[: -1 if cut else None]:
        assert name in asked.names
        schema = SCHEMAS[name] or {"maxProperties": 0}
        assert is_valid("".join(arguments), {**schema, "type": "object"}), (name, arguments)
    thinking = asked.body["extra_body"]["chat_template_kwargs"]["enable_thinking"]
    assert thinking or not "".join(said.reasoning) or asked.answer is None
    assert "<tool_call>" not in "".join(said.reasoning)
    assert len(said.calls) <= asked.most
    if cut:
        return
    assert bytes(said.scored).decode() == ("".join(said.content) if asked.body["logprobs"] else "")
    assert len(said.calls) >= asked.least
    assert said.finish == ("tool_calls" if said.calls and not asked.named else "stop")
    if asked.answer and not said.calls:
        assert is_valid("".join(said.content), asked.answer), said.content


def is_valid(text: str, schema: Parameters) -> bool:
    value = json.loads(text, parse_float=Decimal)
    return jsonschema_rs.validator_for(schema, validate_formats=True).is_valid(value)


async def run_all(guaranteed: Guaranteed, requests: list[Asked]) -> Counter[str]:
    if not guaranteed.budgets:
        for asked in requests:
            asked.body["extra_body"].pop("thinking_token_budget", None)
    found: Counter[str] = Counter()
    gate = asyncio.Semaphore(N_AT_ONCE)

    async def one(asked: Asked) -> None:
        async with gate:
            choices, usage = await ask(client, asked)
        check_usage(asked, usage)
        for said in choices:
            check(asked, said)
            kind = "forced" if asked.least else "answer" if asked.answer else "free"
            found[f"{kind}, {'cut' if said.finish == 'length' else 'finished'}"] += 1
            found["calls"] += len(said.calls)

    async with openai.AsyncOpenAI(
        api_key=KEY, base_url=guaranteed.url, max_retries=0, timeout=REPLY_S
    ) as client:
        # The first of each set of tools computes the beginning of the prompt that the others share.
        await asyncio.gather(*map(one, requests[: len(TOOL_SETS)]))
        await asyncio.gather(*map(one, requests[len(TOOL_SETS) :]))
    return found


@pytest.mark.anyio
@pytest.mark.parametrize("n_requests", COUNTS)
async def test_calls(guaranteed: Guaranteed, n_requests: int) -> None:
    found = await run_all(guaranteed, [ask_for_calls(seed) for seed in range(n_requests)])
    print(found)
    assert 2 * found["forced, finished"] >= found["forced, cut"], "too few end for this to prove anything"
    assert found["calls"] >= n_requests / 4


@pytest.mark.anyio
@pytest.mark.parametrize("n_requests", COUNTS)
async def test_json(guaranteed: Guaranteed, n_requests: int) -> None:
    found = await run_all(guaranteed, [ask_for_json(10_000 + seed) for seed in range(n_requests)])
    print(found)
    assert 2 * found["answer, finished"] >= found["answer, cut"], "too few end for this to prove anything"
