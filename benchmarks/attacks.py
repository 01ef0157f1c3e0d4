"""The known ways in which one account can slow another, in a process of their own.

    python -m benchmarks.attacks PORT KEY NAME

runs the attack of that name until it is ended. It speaks HTTP over plain sockets, so that it costs the
machine little beside what it asks of the server. It prints a line when as many replies have begun as it runs
at once (those of the account, as the others wait for a place): its whole volume is running then.
"""

import asyncio
import itertools
import json
import re
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

Json: TypeAlias = dict[str, object]
Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_MIB = 2**20
_NUMBERS = itertools.count()
_PAUSE_S = 0.1
_TEXT = re.compile(rb'"content":"[^"]')
_PLACES = 56
"""Choices of one tier that `tessera serve` runs at once by default, with the reserve of the tier above."""


class Account:
    def __init__(self, port: int, key: str, on_begun: Callable[[int], None] = lambda _: None) -> None:
        self.port, self._key = port, key
        self._n_begun = 0
        self._on_begun = on_begun

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """A connection that is closed in any case."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**16)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    def head(self, n_bytes: int) -> bytes:
        """The head of a request whose body has that length."""
        return (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {n_bytes}\r\n\r\n"
        ).encode()

    def question(self) -> bytes:
        """A question about the account's usage."""
        return f"GET /v1/usage HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._key}\r\n\r\n".encode()

    async def post(self, body: bytes, *, n_read: int = -1) -> None:
        """Sends a body and reads the answer, or its first bytes. Pauses briefly after a refusal."""
        async with self.connection() as (reader, writer):
            writer.write(self.head(len(body)) + body)
            answer = await reader.read(min(n_read, 2**16)) if n_read > 0 else await reader.read(2**16)
            part, has_begun = answer, False
            while n_read < 0 and part:
                if not has_begun and _TEXT.search(part):
                    has_begun = True
                    self._n_begun += 1
                    self._on_begun(self._n_begun)
                part = await reader.read(2**16)
        if not answer.startswith(b"HTTP/1.1 200"):
            await asyncio.sleep(_PAUSE_S)


def chat(body: Json, n_words: int = 5) -> bytes:
    """A request whose prompt shares no prefix with any other: its first word is new."""
    words = f"{next(_NUMBERS) * 7919 % 100_003} {_words(n_words - 1)}"
    asked = {"messages": [{"role": "user", "content": f"{words} Go on."}], "stream": True, **body}
    return json.dumps(asked).encode()


@cache
def _words(n: int) -> str:
    """A long text. It is made once, since 400,000 words take processor time away from the server."""
    return " ".join(str(number * 7919 % 100_003) for number in range(n))


def answers(schema: Json) -> Json:
    """A request for a reply that follows the schema."""
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}}


_LOGPROBS: Json = {"logprobs": True, "top_logprobs": 20}
_COUNTED = answers({"type": "string", "pattern": "a.{20}b", "maxLength": 2000})


def _dear() -> Iterator[Json]:
    """Schemas whose masks take long to compute: counted patterns, wide enums, deep recursion."""
    tree = {"properties": {"v": {"enum": ["x", "y"]}, "c": {"items": {"$ref": "#"}}}, "required": ["c"]}
    enum = [f"{i * 7919 % 10_007} choice {i}" for i in range(5_000)]
    words = {"type": "string", "pattern": "^(a|b|c).{30}(d|e).{30}(f|g)$"}
    yield from itertools.cycle(
        [
            answers({"type": "object", **tree}),
            answers({"type": "array", "minItems": 20, "items": {"enum": enum}}),
            answers({"type": "array", "minItems": 5, "items": words}),
        ]
    )


def _slow_schema() -> Json:
    """A schema that takes long to analyse, because its references fan out. Each call returns another one."""
    number = next(_NUMBERS)
    named: Json = {f"d{number}x{i}": {"oneOf": _two(f"d{number}x{i + 1}", i)} for i in range(12)}
    named[f"d{number}x12"] = {"type": "object", "properties": {f"p{number}": {"type": "string"}}}
    return {"$defs": named, "oneOf": _two(f"d{number}x0", 99)}


def _two(name: str, number: int) -> list[Json]:
    there = {"$ref": f"#/$defs/{name}"}
    return [
        {"type": "object", "properties": {f"a{number}": there}, "required": [f"a{number}"]},
        {"type": "object", "properties": {f"b{number}": there, f"c{number}": there}},
    ]


def _tools() -> Json:
    number = next(_NUMBERS)
    properties = {f"p{i}": {"type": "string", "maxLength": 40} for i in range(8)}
    named = [
        {"name": f"f{number}_{i}", "parameters": {"type": "object", "properties": properties}}
        for i in range(128)
    ]
    return {"tools": [{"type": "function", "function": each} for each in named], "tool_choice": "required"}


async def _slow_body(account: Account) -> None:
    """Sends 8 MiB without the last byte, in pieces, and then the last byte together with all others."""
    body = json.dumps({"messages": [{"role": "user", "content": "x " * (4 * _MIB - 100)}]}).encode()
    async with account.connection() as (reader, writer):
        writer.write(account.head(len(body)))
        for start in range(0, len(body) - 1, _MIB // 2):
            writer.write(body[start : min(start + _MIB // 2, len(body) - 1)])
            await asyncio.wait_for(writer.drain(), 20)
            await asyncio.sleep(_PAUSE_S)
        writer.write(body[-1:])
        await asyncio.wait_for(reader.read(2**16), 30)


_REFUSED = itertools.cycle(
    (
        b'{"messages": [' + b'{"role": "user", "content": "' + b"y" * 2**20 + b'"}], "temperature": 9}',
        b'{"messages": [' + b"1," * 2**18 + b"1]}",
        b'{"messages": "' + b"\\u0041" * 2**17,
        b'{"messages": []}',
    )
)


async def _refused(account: Account) -> None:
    await account.post(next(_REFUSED))


async def _churn(account: Account) -> None:
    """Opens and closes connections. Some are closed in the middle of a head, some stay half open."""
    async with account.connection() as (_, writer):
        kind = next(_NUMBERS) % 3
        if kind:
            writer.write(account.head(100)[: 40 * kind])
            await writer.drain()
        await asyncio.sleep(_PAUSE_S * kind)


async def _never_read(account: Account) -> None:
    body = chat(_LOGPROBS | {"max_tokens": 1500})
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", account.port))
        await loop.sock_sendall(connection, account.head(len(body)) + body)
        await asyncio.sleep(60)


async def _dear_masks(account: Account) -> None:
    await account.post(chat({"max_tokens": 400} | next(_dear_schemas)))


async def _slow_schemas(account: Account) -> None:
    await account.post(chat({"max_tokens": 20} | answers(_slow_schema())))


async def _many_tools(account: Account) -> None:
    await account.post(chat({"max_tokens": 50} | _tools()))


async def _left(account: Account) -> None:
    await account.post(chat({"max_tokens": 500}), n_read=400)


async def _questions(account: Account) -> None:
    async with account.connection() as (reader, writer):
        writer.write(account.question())
        while await reader.read(2**16):
            writer.write(account.question())


def _asks(body: Json, n_words: int = 5) -> Callable[[Account], Awaitable[None]]:
    return lambda account: account.post(chat(body, n_words))


@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """`attack` runs in `n_at_once` endless loops.

    An honest account of the same volume has `volume` streams at once, of `n_tokens` each: for attacks that
    generate, as many streams as they have choices, of the same length. With `generates`, the attack is
    measured once its replies have begun.
    """

    name: str
    n_at_once: int
    volume: int
    attack: Callable[[Account], Awaitable[None]]
    n_tokens: int = 200
    generates: bool = False

    @property
    def n_running(self) -> int:
        """How many of its replies run at once, as far as the server has places for them."""
        return min(self.n_at_once, _PLACES * self.n_at_once // max(self.volume, self.n_at_once))

    @property
    def honest(self) -> "Attack":
        """The honest neighbour with which this attack is compared."""
        return honest(self.volume, self.n_tokens)


def honest(volume: int, n_tokens: int = 200) -> Attack:
    """Keeps so many chats running."""
    name = f"honest {volume} {n_tokens}"
    return Attack(name, volume, volume, _asks({"max_tokens": n_tokens}), n_tokens, generates=True)


_dear_schemas = _dear()
_EIGHT: Json = {"n": 8, "max_tokens": 1000}
ATTACKS = (
    Attack("four requests of eight long choices", 4, 32, _asks(_EIGHT), 1000, generates=True),
    Attack("ten requests of eight long choices", 10, 64, _asks(_EIGHT), 1000, generates=True),
    Attack("eight choices with 20 logprobs, twice", 2, 16, _asks(_EIGHT | _LOGPROBS), 1000, generates=True),
    Attack("whole replies with 20 logprobs", 2, 16, _asks(_EIGHT | _LOGPROBS | {"stream": False}), 1000),
    Attack("long prompts that share nothing", 4, 4, _asks({"max_tokens": 1}, 3_000)),
    Attack("prompts far beyond the context", 4, 4, _asks({}, 400_000)),
    Attack(
        "masks of a counted pattern, eight choices", 1, 8, _asks({"n": 8, "max_tokens": 400} | _COUNTED), 400
    ),
    Attack("dear masks of other kinds", 4, 4, _dear_masks),
    Attack("slow schemas, all distinct", 8, 8, _slow_schemas),
    Attack("128 tools, all distinct", 4, 4, _many_tools),
    Attack("bodies of 8 MiB, slowly and together", 16, 4, _slow_body),
    Attack("bodies that are refused", 8, 4, _refused),
    Attack("questions about usage", 32, 4, _questions),
    Attack("left after the first token", 8, 8, _left),
    Attack("connections that come and go", 64, 4, _churn),
    Attack("streams that are never read", 16, 16, _never_read, 1500),
)


async def _loop(attack: Attack, account: Account) -> None:
    while True:
        with suppress(OSError, TimeoutError):
            await attack.attack(account)


async def _run(attack: Attack, account: Account) -> None:
    await asyncio.gather(*(_loop(attack, account) for _ in range(attack.n_at_once)))


def main() -> None:
    """Attacks until the process is ended."""
    port, key, name = sys.argv[1:]
    kinds = {each.name: each for each in ATTACKS}
    attack = kinds[name] if name in kinds else honest(*map(int, name.split()[1:]))

    def show(n_begun: int) -> None:
        if n_begun == attack.n_running:
            print("running", flush=True)

    asyncio.run(_run(attack, Account(int(port), key, show)))


if __name__ == "__main__":
    main()
