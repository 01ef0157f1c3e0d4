"""HTTP requests that are nearly right: valid ones of every kind, changed at random in their JSON, in their
bytes, in their head and in their framing. The same seed makes the same requests.
"""

import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

USER = {"role": "user", "content": "What is the weather in León? 👩‍💻"}
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 9}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city"],
}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": PARAMETERS}}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "León"}'}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True}}

SEEDS: tuple[dict[str, Any], ...] = (
    {"messages": [USER], "max_tokens": 3},
    {"messages": [USER], "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}},
    {"messages": [USER], "max_completion_tokens": 2, "n": 3, "temperature": 0.5, "top_p": 0.9, "seed": 7},
    {"messages": [USER], "max_tokens": 2, "logprobs": True, "top_logprobs": 3, "logit_bias": {"5": -3.5}},
    {"messages": [USER], "max_tokens": 2, "stop": ["lamp", "\n\n"], "presence_penalty": 1, "user": "u"},
    {
        "messages": [USER],
        "max_tokens": 4,
        "chat_template_kwargs": {"enable_thinking": True},
        "thinking_token_budget": 1,
    },
    {
        "model": "alias",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "Hm."},
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny"},
        ],
        "max_tokens": 2,
    },
    {"messages": [USER], "tools": [TOOL], "tool_choice": "auto", "max_tokens": 3},
    {"messages": [USER], "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
    {"messages": [USER], "response_format": SCHEMA, "max_tokens": 3},
    {"messages": [USER], "response_format": {"type": "json_object"}, "max_tokens": 3, "stream": True},
)

_ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    1.5,
    -0.0,
    1e308,
    2**31,
    2**63,
    -(2**63) - 1,
    10**40,
    "",
    " ",
    "x",
    "1",
    "\x00",
    "\u202e",
    "😀" * 300,
    "x" * 20_000,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"type": "object"},
    ["a", 1, {}],
    "<|im_start|>",
    "null",
    "$ref",
    {"$ref": "#"},
    "__class__",
    "..\\..\\etc",
    "%s%n{0}",
    "\ud7ff\ue000",
    "user",
)
_ODD_LITERALS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "01",
    "+1",
    "0x10",
    ".5",
    "1.",
    '"\\ud800"',
    '"\\x"',
    "'a'",
    "nul",
    "9" * 500,
    "",
    "[" * 3000,
    '{"a":' * 3000,
    "[1,]",
    '{"a":1,}',
    "/**/1",
    '"\t"',
    "tru",
    "\ufeff1",
)
_NAMES = (
    "chat_template",
    "functions",
    "guided_json",
    "prompt_embeds",
    "best_of",
    "__proto__",
    "a\r\nb: c",
    "é",
    "",
)


class _Literal:
    """Text that is put into the JSON unchanged."""

    def __init__(self, text: str) -> None:
        self.text = text


@dataclass(frozen=True)
class Message:
    """Bytes to send. If they are `framed`, the server can tell where the request ends, and the connection may
    go on after the answer; otherwise the sender stops sending there.
    """

    sent: bytes
    framed: bool = True
    method: str = "POST"


def make(chance: random.Random, key: str) -> Message:
    """A random request."""
    fields = copy.deepcopy(chance.choice(SEEDS))
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3, 6])):
        fields = _changed(fields, chance)
    body = _dumped(fields, chance).encode("utf-8", "surrogatepass")
    if chance.random() < 0.25:
        body = _torn(body, chance)
    return _framed(body, chance, key)


def _changed(value: Any, chance: random.Random) -> Any:
    """The value with something changed, at any depth."""
    inside = [*value] if isinstance(value, dict) else [*range(len(value))] if isinstance(value, list) else []
    if not inside or chance.random() < 0.1:
        return _other(value, chance)
    at = chance.choice(inside)
    if chance.random() < 0.6:
        value[at] = _changed(value[at], chance)
        return value
    match chance.randrange(5), value:
        case 0, _:
            del value[at]
        case 1, dict():
            value[chance.choice([*_NAMES, str(at) + " ", str(at).upper()])] = value.pop(at)
        case 2, dict():
            other = chance.choice(SEEDS)
            name = chance.choice([*other])
            value[name] = copy.deepcopy(other[name])
        case 1 | 2, list() if len(repr(value)) < 5_000:
            value[:] = value * chance.choice([2, 10, 200])
        case _:
            value[at] = _other(value[at], chance)
    return value


def _other(value: Any, chance: random.Random) -> Any:
    match chance.randrange(6):
        case 0:
            return _Literal(chance.choice(_ODD_LITERALS))
        case 1:
            return [value]
        case 2:
            for _ in range(chance.choice([3, 64, 65, 66, 90])):
                value = {"a": value} if chance.random() < 0.5 else [value]
            return value
        case 3:
            return repr(value)[:1000]
        case _:
            return copy.deepcopy(chance.choice(_ODD_VALUES))


def _dumped(value: Any, chance: random.Random) -> str:
    """JSON in which a member sometimes occurs twice."""
    match value:
        case _Literal():
            return value.text
        case dict():
            members = [f"{json.dumps(k)}:{_dumped(v, chance)}" for k, v in value.items()]
            if members and chance.random() < 0.02:
                members.append(chance.choice(members))
            return "{" + ",".join(members) + "}"
        case list():
            return "[" + ",".join(_dumped(v, chance) for v in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=chance.random() < 0.5)


def _torn(body: bytes, chance: random.Random) -> bytes:
    torn = bytearray(body)
    for _ in range(chance.choice([1, 1, 2, 8])):
        at = chance.randrange(len(torn) + 1)
        match chance.randrange(5):
            case 0 if at < len(torn):
                torn[at] ^= 1 << chance.randrange(8)
            case 1:
                del torn[at:]
            case 2:
                torn[at:at] = bytes(chance.randrange(256) for _ in range(chance.choice([1, 4, 60])))
            case 3:
                torn[at:at] = torn[: chance.randrange(len(torn) + 1)]
            case _:
                del torn[at : at + chance.choice([1, 3, 30])]
    return bytes(torn)


_TARGETS = ("/v1/chat/completions",) * 20 + (
    "/v1/models",
    "/v1/models/alias",
    "/v1/models/" + "x" * 3000,
    "/healthz",
    "/readyz",
    "/",
    "//",
    "/v1/chat/completions/",
    "/v1/chat/completions?x=%00",
    "/v1/models/%2e%2e/%ff",
    "/v1/../healthz",
    "*",
    "http://other/v1/models",
    "/%0d%0aX: y",
    "/v1/chat/completions#x",
    "/é",
)
_METHODS = ("POST",) * 30 + (
    "GET",
    "HEAD",
    "PUT",
    "DELETE",
    "OPTIONS",
    "PATCH",
    "TRACE",
    "post",
    "BREW",
    "PRI",
)
_HEADERS: tuple[str, ...] = (
    "X-Request-Id: a b",
    "X-Request-Id: " + "x" * 200,
    "X-Request-Id: ok-1",
    "Content-Encoding: gzip",
    "Content-Encoding: identity",
    "Content-Type: text/plain",
    "Content-Type: application/json; charset=latin-1",
    "Accept: nothing/at-all",
    "Expect: 100-continue",
    "Cookie: " + "c" * 5000,
    "X-A: \x7f\x80é",
    "Host: other",
    "Authorization: Bearer sk-tessera-wrong-wrong",
    "Authorization: Basic eDp5",
    "Authorization: bearer",
    "X-Empty:",
    "Range: bytes=0-1,2-3",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
    "Upgrade: websocket\r\nConnection: Upgrade",
    "Upgrade: h2c",
    "Connection: Upgrade",
    "Connection: keep-alive",
    "X-Forwarded-For: 127.0.0.1",
    "traceparent: 00-" + "f" * 32 + "-" + "0" * 16 + "-01",
    "X-HTTP-Method-Override: GET",
)
_BROKEN_HEADS: tuple[Callable[[bytes], bytes], ...] = (
    lambda head: head.replace(b"\r\n", b"\n"),
    lambda head: head.replace(b"\r\n", b"\r"),
    lambda head: head.replace(b"HTTP/1.1", b"HTTP/9.9"),
    lambda head: head.replace(b": ", b" : "),
    lambda head: head.replace(b"Host", b"\x00Host"),
    lambda head: head.replace(b"\r\n\r\n", b"\r\n folded\r\n\r\n"),
    lambda head: head[: len(head) // 2] + b"\xff" * 20 + head[len(head) // 2 :],
    lambda head: b"\r\n\r\n" + head,
    lambda head: b"\x16\x03\x01" + head,
)


def _framed(body: bytes, chance: random.Random, key: str) -> Message:
    method, target = chance.choice(_METHODS), chance.choice(_TARGETS)
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Content-Type: application/json"]
    if chance.random() < 0.97:
        lines.append(f"Authorization: Bearer {key}")
    extra = chance.sample(_HEADERS, chance.choice([0, 0, 0, 0, 0, 1, 1, 3]))
    lines += extra
    framed = True
    match chance.randrange(24):
        case 0:
            lines, body = [*lines, "Transfer-Encoding: chunked"], _chunks(body, chance)
        case 1:
            lines, body, framed = (
                [*lines, "Transfer-Encoding: chunked"],
                _torn(_chunks(body, chance), chance),
                False,
            )
        case 2:
            lines, framed = (
                [*lines, f"Content-Length: {len(body) + chance.choice([-3, 1, 100, 10**6])}"],
                False,
            )
        case 3:
            lines, framed = (
                [*lines, f"Content-Length: {chance.choice(['-1', '1e3', '', '5, 6', '9' * 30])}"],
                False,
            )
        case 4:
            lines, framed = [*lines, f"Content-Length: {len(body)}", "Transfer-Encoding: chunked"], False
        case _:
            lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass")
    if chance.random() < 0.03:
        head, framed = chance.choice(_BROKEN_HEADS)(head), False
    # What the parser of the head refuses is answered and closed.
    framed = framed and method in ("POST", "GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH")
    return Message(head + body, framed, method)


def _chunks(body: bytes, chance: random.Random) -> bytes:
    sent, at = bytearray(), 0
    while at < len(body):
        size = chance.choice([1, 7, 100, 5000])
        piece = body[at : at + size]
        extension = chance.choice([b"", b"", b";x=y"])
        sent += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
        at += size
    return bytes(sent + b"0\r\n" + chance.choice([b"", b"X-Trailer: t\r\n"]) + b"\r\n")
