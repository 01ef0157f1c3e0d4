"""What went wrong where clients' schemas were compiled and models' outputs were parsed."""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import ASGIApp
from tests.families import ASKED, CITY, FAMILIES, LEON_JSON, SHUT, XML, Family
from tests.limits import LIMITS
from tests.scripts import CAN_ALL

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, saying
from tessera.formats.hermes import HERMES
from tessera.grammars.checker import GrammarCheck
from tessera.http.app import build_app
from tessera.http.service import Service

KEY = "sk-tessera-" + "s" * 40
USER = {"role": "user", "content": "Hi"}


@pytest.fixture(scope="module")
def client(run_app: Callable[[ASGIApp], AbstractContextManager[int]]) -> Iterator[httpx2.Client]:
    """A client of a server whose engine replies `{}` under any grammar; grammars are really tried."""
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(tokenizer, saying(tokenizer, "{}"), features=CAN_ALL)
    grammars = GrammarCheck(
        tokenizer.control_tokens, tokenizer.vocabulary_size, HERMES.syntax, deadline_s=300, wait_s=300
    )
    model = Model("m", engine, tokenizer, HERMES, HERMES.sampling, created_s=1, grammars=grammars)
    with (
        run_app(
            build_app(Service(catalog=Catalog([model], {}, "m"), keys=Keys([KEY]), limits=LIMITS))
        ) as port,
        httpx2.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {KEY}"},
            trust_env=False,
            timeout=60,
        ) as client,
    ):
        yield client


def answer(client: httpx2.Client, schema: Any) -> httpx2.Response:
    named = {"name": "s", "schema": schema, "strict": True}
    fields = {"messages": [USER], "response_format": {"type": "json_schema", "json_schema": named}}
    return client.post("/v1/chat/completions", content=dumps(fields), headers=JSON_TYPE)


def call(client: httpx2.Client, parameters: Any) -> httpx2.Response:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    return client.post(
        "/v1/chat/completions", content=dumps({"messages": [USER], "tools": [tool]}), headers=JSON_TYPE
    )


JSON_TYPE = {"Content-Type": "application/json"}


def dumps(value: Any) -> bytes:
    return json.dumps(value).encode()


def typed(**keywords: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": keywords}}


NO_SCHEMAS = [1, "x", None, [], [{}]]
BROKEN: list[dict[str, Any]] = [
    typed(**{keyword: value})
    for keyword, values in {
        "type": ["int", "", 1, [], ["text"], {}, [1]],
        "pattern": ["[", "(", "*", "a{2,1}", "(?P<x>", "\\", 1, [], "[z-a]", "(?"],
        "enum": ["x", 1, {}],
        "required": ["a", [1], {"a": 1}, [["a"]]],
        "properties": [[], 1, {"a": 1}, {"a": []}],
        "items": [1, "x"],
        "minLength": [-1, "1", 1.5],
        "maxItems": [-1, "9", 1.5],
        "anyOf": [{}, [], [1], "x"],
        "oneOf": [{}, [], [[]]],
        "allOf": [{}, [], [None]],
        "$ref": [1, "x", "#/nope", "http://127.0.0.1:9/x", "file:///etc/passwd", "#/%zz"],
        "multipleOf": [0, -1, "2"],
        "additionalProperties": [1, "x"],
        "minimum": ["1"],
    }.items()
    for value in values
]


def test_CVE_2025_48942_CVE_2025_48943_CVE_2025_48944_broken_schemas_harm_nobody(
    client: httpx2.Client,
) -> None:
    """Each is refused and named, as an answer's schema and as a tool's; the engine answers after each."""
    assert len(BROKEN) >= 50
    for schema in BROKEN:
        for refused, param in ((answer(client, schema), "response_format"), (call(client, schema), "tools")):
            assert refused.status_code == 400, (schema, refused.text)
            error = refused.json()["error"]
            assert error["code"] in {"invalid_schema", "invalid_value", "invalid_json"}
            assert error["param"].startswith(param)
    for schema in NO_SCHEMAS:
        assert answer(client, schema).status_code == 400
        assert call(client, schema).status_code == (200 if schema is None else 400)
    assert answer(client, {"type": "object"}).status_code == 200


MONSTERS: dict[str, Any] = {
    "circle": {"$ref": "#"},
    "circle of definitions": {"$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}},
}
DEAR: dict[str, Any] = {
    "all of many patterns": typed(
        type="string", allOf=[{"pattern": f"(a|{chr(98 + i)})*.{{{i + 3}}}"} for i in range(20)]
    ),
    "endless list": typed(type="array", maxItems=10**9),
    "endless value": {"type": "object", "properties": {"n": {"$ref": "#"}}, "required": ["n"]},
    "nothing fits": {**typed(type="string", minLength=5, maxLength=2), "required": ["a"]},
}


@pytest.mark.parametrize("name", MONSTERS)
def test_llama_cpp_22606_CVE_2025_57809_schemas_that_recurse_are_refused_in_time(
    name: str, client: httpx2.Client
) -> None:
    for ask in (answer, call):
        assert ask(client, MONSTERS[name]).json()["error"]["code"] == "invalid_schema"


@pytest.mark.parametrize("name", DEAR)
def test_what_cannot_be_enforced_is_refused_if_strict_and_else_relaxed(
    name: str, client: httpx2.Client
) -> None:
    assert answer(client, DEAR[name]).json()["error"]["code"] == "invalid_schema"
    assert call(client, DEAR[name]).status_code == 200


@pytest.mark.parametrize("opening", [b'{"items":', b'{"properties":{"a":', b'{"not":', b'{"anyOf":[', b"["])
def test_llama_cpp_22606_depth_of_ten_thousand(opening: bytes, client: httpx2.Client) -> None:
    n = 10_000
    closing = bytes({ord("{"): ord("}"), ord("["): ord("]")}[c] for c in reversed(opening) if c in b"{[")
    deep = opening * n + b"{}" + closing * n
    body = b'{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema",'
    body += b'"json_schema":{"name":"s","schema":' + deep + b"}}}"
    begun = time.process_time()
    refused = client.post("/v1/chat/completions", content=body, headers=JSON_TYPE)
    assert refused.status_code == 400
    assert time.process_time() - begun < 2


def memory_bytes() -> int:
    """The resident memory of this process, in which the server runs."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "n", [pytest.param(200, id="some"), pytest.param(10_000, id="many", marks=pytest.mark.full)]
)
def test_CVE_2025_29770_unique_schemas_fill_neither_memory_nor_disk(
    n: int, client: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    filler = "x" * (8_000 if n > 1000 else 40_000)

    def unique(i: int) -> None:
        properties = {f"p{i}": {"type": "string"}, "q": {"enum": [f"{i}{filler}", "b"]}}
        reply = answer(client, {"type": "object", "properties": properties})
        assert reply.status_code == 200, reply.text

    for i in range(20):
        unique(i)
    before = memory_bytes()
    for i in range(20, n):
        unique(i)
    # Were each kept in any form, it would be at least three times what is allowed here.
    assert memory_bytes() - before < n * len(filler) // 3 + 4 * 2**20
    assert list(tmp_path.iterdir()) == []


UNITS = [
    "<tool_call>", "<tool_call>\n<function=get_weather>\n<parameter=city>\n", CITY + "x" + SHUT, LEON_JSON,
    '<tool_call>\n{"name": "get_weather", "arguments": {', '{"name": "get_weather"', "[", "{", '"', "\\", "(",
    "</parameter>", "<parameter=", "<function=", "<", "<think>", "</think>", " ", "\n\n", "a", "f(city=",
]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_CVE_2025_48887_no_output_makes_the_parser_slow(family: Family) -> None:
    """Anything adversarial is read in time that grows with its length: no pattern backtracks."""
    for unit in UNITS:
        parts = [unit] * (12_000 // len(unit))
        for cut in (parts, ["<tool_call>", "".join(parts)], ["".join(parts)]):
            begun = time.process_time()
            family.read(cut, ASKED)
            assert time.process_time() - begun < 2, (unit, len(cut))


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os').system('touch {}')",
        "[x for x in (1).__class__.__base__.__subclasses__()]",
        "open('{}', 'w')",
        "lambda: 0",
        "{{}}.__class__",
        "[" * 5000,
    ],
)
def test_CVE_2025_9141_what_a_model_writes_is_never_evaluated(code: str, tmp_path: Path) -> None:
    code = code.format(tmp_path / "canary")
    for name in ("city", "days", "unknown"):
        written = f"\n<function=get_weather>\n<parameter={name}>\n{code}{SHUT}"
        (made,) = XML.read(["<tool_call>", written, "</tool_call>"]).tool_calls
        value = json.loads(made.arguments)[name]
        assert isinstance(value, str)
        assert value == code
    assert not (tmp_path / "canary").exists()


def test_malformed_outputs_of_any_bytes_are_text_or_calls_of_known_names() -> None:
    chance = random.Random(4)
    for _ in range(300):
        parts = [
            chance.choice([*UNITS, "".join(chr(chance.randrange(1, 0xD7FF)) for _ in range(9))])
            for _ in range(20)
        ]
        for family in FAMILIES:
            choice = family.read(parts)
            assert {made.name for made in choice.tool_calls} <= {"get_weather", "get_time"}


def test_what_only_compiling_shows_names_the_schema(client: httpx2.Client) -> None:
    nothing = {**typed(type="string", minLength=5, maxLength=2), "required": ["a"]}
    tools = [
        {"type": "function", "function": {"name": name, "parameters": parameters, "strict": True}}
        for name, parameters in (("a", typed(type="null")), ("b", typed(type="integer")), ("c", nothing))
    ]
    answer_format = {"type": "json_schema", "json_schema": {"name": "s", "schema": nothing, "strict": True}}
    for fields, param in (
        ({"tools": tools}, "tools[2].function.parameters"),
        ({"response_format": answer_format}, "response_format.json_schema.schema"),
        ({"tools": tools[:2], "response_format": answer_format}, "response_format.json_schema.schema"),
    ):
        refused = client.post(
            "/v1/chat/completions", content=dumps({"messages": [USER], **fields}), headers=JSON_TYPE
        )
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
