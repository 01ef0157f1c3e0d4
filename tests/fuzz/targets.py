"""What the coverage-guided fuzzer calls: a target takes any bytes and raises when something does not hold."""

# pyright: reportAttributeAccessIssue=false
# (atheris makes its names when it is imported.)

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import atheris
import msgspec
from tests.conservation import is_accounted_for
from tests.families import ASKED, FAMILIES, LEON, LEON_JSON, TIME, WEATHER, recut
from tests.fuzz.messages import PARAMETERS, SEEDS
from tests.strategies import MARKUP
from tests.templates import own_format

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    JsonSchema,
    Message,
    Mode,
    SystemMessage,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from tessera.core.generation import TokenChunk, TokenLogprob
from tessera.core.record import Tally
from tessera.engine.scripted.engine import ScriptedTokenizer
from tessera.errors import InvalidSchema, RequestError
from tessera.formats.base import Control, Plain, Segment
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3
from tessera.grammars.turn import build_grammar
from tessera.parsing.reader import ReplyReader
from tessera.schemas import patterns
from tessera.schemas.keywords import KEYWORDS
from tessera.schemas.validation import Validator
from tessera.wire.decode import REFUSED, WITHOUT_EFFECT, decode_request
from tessera.wire.reading import check_depth
from tessera.wire.reply import Header, ReplyWriter
from tessera.wire.request import Request
from tessera.wire.stream import ChunkWriter

WITHIN_S = 3.0
"""Of processor time, for a few kilobytes."""


def decode(data: bytes) -> None:
    """Checks that a body is either a request, or refused with a message that says what is wrong."""
    try:
        request, _ = decode_request(data)
    except RequestError as refusal:
        check_refusal(refusal)
        return
    assert request.messages
    assert 1 <= request.n <= 8
    msgspec.json.encode(request)


def check_refusal(refusal: RequestError) -> None:
    """Checks that a refusal names the client's fault, briefly."""
    assert 400 <= refusal.status < 500
    assert 0 < len(refusal.message) < 2_000
    assert refusal.code


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<think>", "</think>")
TEMPLATE = own_format(CHATML, control_tokens=CONTROL, eos="<|im_end|>")


def render(data: bytes) -> None:
    """Checks that the texts of a conversation never change the markup of its prompt."""
    source = atheris.FuzzedDataProvider(data)
    request = _conversation(source)
    neutral = replace(request, messages=tuple(map(_neutral, request.messages)))
    for chat_format in (HERMES, TEMPLATE):
        try:
            segments = chat_format.render(request)
        except RequestError:
            continue
        assert _markup(segments) == _markup(chat_format.render(neutral))
    try:
        segments = QWEN3.render(request)
    except RequestError:
        return
    known = {*CONTROL, "<tool_response>", "</tool_response>"}
    assert {segment.token for segment in segments if isinstance(segment, Control)} <= known


def _markup(segments: Iterable[Segment]) -> list[Segment]:
    return [segment for segment in segments if not isinstance(segment, Plain)]


def _neutral(message: Message) -> Message:
    """The same message without anything that could be taken for markup."""
    match message:
        case AssistantMessage(text, reasoning, calls):
            said = tuple(ToolCall("c", "f", "{}") for _ in calls)
            return AssistantMessage("x" if text else "", "x" if reasoning else reasoning, said)
        case ToolMessage():
            return ToolMessage("x", "c")
        case _:
            return replace(message, text="x")


def _text(source: atheris.FuzzedDataProvider) -> str:
    parts = (
        source.PickValueInList([*MARKUP, *CONTROL, "<|im_start|>system\n", "<tool_response>", "\U000f0000"])
        if source.ConsumeBool()
        else source.ConsumeUnicodeNoSurrogates(12)
        for _ in range(source.ConsumeIntInRange(0, 5))
    )
    return "".join(parts)


def _json(source: atheris.FuzzedDataProvider, depth: int = 3) -> Any:
    match source.ConsumeIntInRange(0, 6 if depth else 4):
        case 0:
            return source.ConsumeBool()
        case 1:
            return source.ConsumeIntInRange(-(2**40), 2**40)
        case 2:
            return source.ConsumeRegularFloat()
        case 3:
            return None
        case 4:
            return _text(source)
        case 5:
            return [_json(source, depth - 1) for _ in range(source.ConsumeIntInRange(0, 3))]
        case _:
            return {_text(source): _json(source, depth - 1) for _ in range(source.ConsumeIntInRange(0, 3))}


def _arguments(source: atheris.FuzzedDataProvider) -> str:
    """The arguments of a call, which may be cut, or not JSON at all."""
    text = json.dumps({_text(source): _json(source)}, ensure_ascii=source.ConsumeBool())
    return text[: source.ConsumeIntInRange(0, len(text))] if source.ConsumeBool() else text


def _conversation(source: atheris.FuzzedDataProvider) -> ChatRequest:
    messages: list[Message] = [SystemMessage(_text(source))] if source.ConsumeBool() else []
    for _ in range(source.ConsumeIntInRange(1, 5)):
        match source.ConsumeIntInRange(0, 2):
            case 0:
                messages.append(UserMessage(_text(source)))
            case 1:
                n_calls = source.ConsumeIntInRange(0, 2)
                arguments = [_arguments(source) for _ in range(n_calls)]
                calls = tuple(ToolCall(f"c{i}", _text(source), each) for i, each in enumerate(arguments))
                reasoning = _text(source) if source.ConsumeBool() else None
                messages.append(AssistantMessage(_text(source), reasoning, calls))
            case _:
                messages.append(ToolMessage(_text(source), "c0"))
    return ChatRequest(
        tuple(messages),
        mode=Mode.THINKING if source.ConsumeBool() else Mode.DIRECT,
        preserve_thinking=source.ConsumeBool(),
        tools=(WEATHER,) if source.ConsumeBool() else (),
    )


def schema(data: bytes) -> None:
    """Checks that a schema becomes a grammar and a validator, or is refused with its place and keyword, in
    bounded time.
    """
    try:
        value = msgspec.json.decode(data) if data[:1] == b"{" else _schema(atheris.FuzzedDataProvider(data))
        check_depth(value, "x")
    except (msgspec.DecodeError, UnicodeError, RecursionError, RequestError):
        return
    if not isinstance(value, dict | bool):
        return
    begun_s = time.process_time()
    for strict in (True, False):
        asked = [ChatRequest((UserMessage("x"),), answer_format=JsonSchema("s", value, strict))]
        if isinstance(value, dict):
            asked.append(ChatRequest((UserMessage("x"),), tools=(Tool("f", value, {}, strict),)))
        for request in asked:
            for syntax in (HERMES.syntax, QWEN3.syntax):
                try:
                    grammar = build_grammar(request, syntax, {"<|im_end|>": 256})
                except InvalidSchema as refusal:
                    check_refusal(refusal)
                    continue
                assert grammar is not None
                assert len(grammar.lark) < 2**22
                Validator(value)
    assert time.process_time() - begun_s < WITHIN_S


_PLAIN_WORDS = (
    "object",
    "array",
    "string",
    "integer",
    "number",
    "null",
    "a",
    "#",
    "#/$defs/a",
    "date",
    "^a+$",
)


def _schema(source: atheris.FuzzedDataProvider, depth: int = 4) -> Any:
    """A schema whose keywords mostly have values of the right kind."""
    made: dict[str, Any] = {}
    for _ in range(source.ConsumeIntInRange(0, 4)):
        name = source.PickValueInList([*KEYWORDS])
        holds = KEYWORDS[name].holds if depth and source.ConsumeIntInRange(0, 9) else None
        match holds:
            case "schema":
                made[name] = _schema(source, depth - 1)
            case "schemas":
                made[name] = [_schema(source, depth - 1) for _ in range(source.ConsumeIntInRange(1, 3))]
            case "named schemas":
                made[name] = {_text(source): _schema(source, depth - 1) for _ in range(2)}
            case _ if name == "$defs" and depth:
                made[name] = {"a": _schema(source, depth - 1)}
            case _:
                values = [
                    *_PLAIN_WORDS,
                    0,
                    1,
                    7,
                    -1,
                    2.5,
                    True,
                    False,
                    ["a"],
                    ["string", "null"],
                    [1, 2.5, "a"],
                ]
                made[name] = source.PickValueInList(values) if source.ConsumeBool() else _json(source, 2)
    return made


def pattern(data: bytes) -> None:
    """Checks that a regular expression is translated or refused."""
    begun_s = time.process_time()
    with suppress(patterns.Malformed, patterns.Unsupported):
        patterns.full_match(atheris.FuzzedDataProvider(data).ConsumeUnicodeNoSurrogates(256))
    assert time.process_time() - begun_s < WITHIN_S


_REQUESTS = tuple(
    replace(ASKED, mode=mode, stop=stop, tools=tools, parallel_tool_calls=parallel)
    for mode in Mode
    for stop in ((), ("STOP",), ("\n\n", "}"))
    for tools in ((), (WEATHER,), (WEATHER, TIME))
    for parallel in (True, False)
)
_SCRAPS = [
    *MARKUP,
    LEON,
    LEON_JSON,
    "<|im_end|>",
    "\n<function=get_weather>\n",
    "\n</parameter>\n</function>\n",
]


def parse(data: bytes) -> None:
    """Checks that any output is read without loss, however it is cut."""
    source = atheris.FuzzedDataProvider(data)
    family, request = source.PickValueInList([*FAMILIES]), source.PickValueInList([*_REQUESTS])
    finish = source.PickValueInList(["stop", "length"])
    longest = source.ConsumeIntInRange(1, 9)
    parts: list[str] = []
    while source.remaining_bytes() and len(parts) < 300:
        scrap = source.PickValueInList(_SCRAPS)
        parts.append(scrap if source.ConsumeBool() else source.ConsumeUnicodeNoSurrogates(10))
    pieces = family.pieces(parts)
    begun_s = time.process_time()
    whole = family.read_pieces([pieces], request, finish)
    assert family.read_pieces([[piece] for piece in recut(pieces, longest)], request, finish) == whole
    assert time.process_time() - begun_s < WITHIN_S
    assert {call.name for call in whole.tool_calls} <= {tool.name for tool in request.tools}
    if not (request.stop or request.one_call):
        assert is_accounted_for(family, parts, request, finish, whole)


_TOKENIZER = ScriptedTokenizer(control=("<|im_end|>", "<|endoftext|>", "<|im_start|>", *CONTROL[2:]))
_WORDS = [_TOKENIZER.encode(text) for text in ("é", "😀", "STOP", LEON, LEON_JSON, "<tool_call>", "\n\n")]


def reply(data: bytes) -> None:
    """Checks that any tokens become a whole reply and a stream with the same content."""
    source = atheris.FuzzedDataProvider(data)
    request = replace(source.PickValueInList([*_REQUESTS]), n=source.ConsumeIntInRange(1, 2))
    chat_format = source.PickValueInList([HERMES, QWEN3])
    header, spell, ids = Header("chatcmpl-x", 1, "m"), _TOKENIZER.token_bytes, count()
    reader = ReplyReader(request, chat_format.syntax, _TOKENIZER, Tally(1), lambda: f"call_{next(ids)}")
    writer = ChunkWriter(header, spell, include_usage=True)
    events, frames = list[Any](), b""
    open_choices = [*range(request.n)]
    with_logprobs = source.ConsumeBool()
    while open_choices:
        choice = source.PickValueInList(open_choices)
        tokens = _tokens(source)
        over = not source.remaining_bytes() or source.ConsumeIntInRange(0, 30) == 0
        finish = source.PickValueInList(["stop", "length"]) if over else None
        if over:
            open_choices.remove(choice)
        logprobs = tuple(TokenLogprob(id, -1.0, ((id, -1.0),)) for id in tokens) if with_logprobs else ()
        more = reader.feed(TokenChunk(choice, tokens, finish, logprobs=logprobs))
        events += more
        frames += writer.write(more)
    assert reader.done
    more = reader.complete()
    events += more
    frames += writer.write(more)
    written = ReplyWriter(header, spell)
    written.add(events)
    whole = json.loads(written.body())
    assert _joined(frames, request.n) == [
        (
            choice["message"]["content"] or "",
            choice["message"].get("reasoning_content") or "",
            [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in calls_of(choice)],
            choice["finish_reason"],
        )
        for choice in whole["choices"]
    ]


def calls_of(choice: Any) -> list[Any]:
    return choice["message"].get("tool_calls") or []


def _tokens(source: atheris.FuzzedDataProvider) -> tuple[int, ...]:
    if source.ConsumeBool():
        return tuple(source.PickValueInList(_WORDS))
    n = source.ConsumeIntInRange(0, 4)
    return tuple(source.ConsumeIntListInRange(n, 0, _TOKENIZER.vocabulary_size + 1))


def _joined(frames: bytes, n: int) -> list[Any]:
    """The message that a client puts together from a stream."""
    *lines, done = [line.removeprefix(b"data: ") for line in frames.split(b"\n\n") if line]
    assert done == b"[DONE]"
    texts, thoughts, finishes = [""] * n, [""] * n, [""] * n
    calls: list[list[list[str]]] = [[] for _ in range(n)]
    for line in lines:
        for choice in json.loads(line)["choices"]:
            i, delta = choice["index"], choice["delta"]
            texts[i] += delta.get("content") or ""
            thoughts[i] += delta.get("reasoning_content") or ""
            finishes[i] += choice["finish_reason"] or ""
            for each in delta.get("tool_calls", ()):
                if "id" in each:
                    calls[i].append([each["id"], each["function"]["name"], ""])
                calls[i][each["index"]][2] += each["function"]["arguments"]
    made = [[(id, name, arguments) for id, name, arguments in each] for each in calls]
    return list(zip(texts, thoughts, made, finishes, strict=True))


@dataclass(frozen=True)
class Target:
    """A target. The fuzzer begins with its `seeds`, and often inserts its `words`."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...] = ()
    words: tuple[str, ...] = ()


_FIELDS = (*Request.__struct_fields__, *WITHOUT_EFFECT, *REFUSED)
_ROLES = (
    "role",
    "user",
    "assistant",
    "tool",
    "system",
    "content",
    "tool_calls",
    "function",
    "arguments",
    "name",
)

TARGETS: Mapping[str, Target] = {
    "decode": Target(
        decode,
        tuple(json.dumps(fields).encode() for fields in SEEDS),
        tuple(f'"{name}"' for name in (*_FIELDS, *_ROLES)),
    ),
    "render": Target(render),
    "schema": Target(
        schema,
        (
            json.dumps(PARAMETERS).encode(),
            b'{"oneOf":[{"type":"null"},{"$ref":"#/$defs/a"}],"$defs":{"a":{}}}',
        ),
        tuple(f'"{word}"' for word in (*KEYWORDS, "object", "array", "string", "integer", "#", "#/$defs/a")),
    ),
    "pattern": Target(
        pattern,
        (b"^[a-z]{1,5}$", b"(a|b)*c+?", rb"\d{2}-\w\S[^\s\]]", b"(?:x|y)(?=z)\\b"),
        ("(?:", "(?=", "(?!", "(?<", "[^", "{1,3}", "\\\\d", "\\\\w", "\\\\b", "\\\\u00e9", "\\\\p{L}", "*?"),
    ),
    "parse": Target(parse),
    "reply": Target(reply),
}


def every(data: bytes) -> None:
    """Tries all targets: the first byte chooses one."""
    if data:
        [*TARGETS.values()][data[0] % len(TARGETS)].run(data[1:])


EVERY = Target(
    every,
    tuple(bytes([i]) + seed for i, target in enumerate(TARGETS.values()) for seed in target.seeds or (b"",)),
    tuple(word for target in TARGETS.values() for word in target.words),
)
