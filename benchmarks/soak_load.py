"""The soak's clients: they ask at random, stay or leave, pipeline, and have their keys revoked."""

import asyncio
import json
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.soak_requests import PHASES, Body, Phase, make

KEY = "sk-tessera-" + "s" * 40
ADMIN_KEY = "sk-admin-" + "a" * 40
_PATIENCE_S = 240.0
_LEAVES = 1 / 3
_OF_XML = ("tools", "tools", "schema", "choices", "chat")
_SHARE_OF_XML = 0.15
_REVOKE_EVERY_S = 10.0
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Service:
    """A running `tessera serve`. The first of several is the main one; the others answer with XML calls."""

    name: str
    pid: int
    port: int
    admin_port: int


@dataclass(slots=True, eq=False)
class Reply:
    """A connection on which a request was sent."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def request(body: Body, *, key: str = KEY, path: str = "/v1/chat/completions", close: bool = True) -> bytes:
    payload = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
        f"{'Connection: close' if close else 'Connection: keep-alive'}\r\n\r\n"
    )
    return head.encode() + payload


class Load:
    """Clients that send random requests until the time is over."""

    def __init__(self, services: Sequence[Service], seed: int) -> None:
        self._main, *self._others = services
        self._random = random.Random(seed)
        self.outcomes: Counter[str] = Counter()

    async def client(self, end_s: float) -> None:
        """Sends one request after the other."""
        while time.monotonic() < end_s:
            xml = bool(self._others) and self._random.random() < _SHARE_OF_XML
            served = self._others[0] if xml else self._main
            kind, body = make(self._random, _OF_XML if xml else ())
            kind = f"{served.name}, {kind}"
            try:
                outcome = await asyncio.wait_for(self._ask(served.port, body), _PATIENCE_S)
            except (OSError, TimeoutError) as error:
                outcome = type(error).__name__
            self.outcomes[f"{kind}: {outcome}"] += 1

    async def _ask(self, port: int, body: Body) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            if self._random.random() < _LEAVES:
                phase = self._random.choice(PHASES)
                await self._leave(phase, request(body), reader, writer)
                return f"left, {phase}"
            if self._random.random() < 0.1:
                return await self._pipeline(body, reader, writer)
            writer.write(request(body))
            return await _outcome(reader)
        finally:
            writer.close()

    async def _leave(
        self, phase: Phase, sent: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if phase == "body":
            writer.write(sent[: self._random.randrange(1, len(sent))])
            await asyncio.sleep(self._random.random())
            return
        writer.write(sent)
        await writer.drain()
        if phase == "head":
            await reader.read(1)
        elif phase in ("stream", "reset"):
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(-1), self._random.expovariate(0.5))
        if phase == "reset":
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    async def _pipeline(self, body: Body, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Sends two requests at once; the second is answered after the first. Some clients leave before."""
        writer.write(request(body, close=False) + request(make(self._random, ("chat", "json", "wrong"))[1]))
        if self._random.random() < 0.3:
            await asyncio.sleep(self._random.expovariate(1))
            return "left, pipelined"
        return "pipelined " + await _outcome(reader)

    async def revoker(self, end_s: float) -> None:
        """Creates an account and a key again and again, and revokes the key in the middle of a stream."""
        account = await self._admin("accounts", {"name": "revoked", "tier": "pro"})
        assert "id" in account, account
        while time.monotonic() < end_s:
            made = await self._admin("keys", {"account": "revoked", "name": f"k{self._random.random()}"})
            reader, writer = await asyncio.open_connection("127.0.0.1", self._main.port)
            _, body = make(self._random, ("chat",))
            writer.write(request({**body, "stream": True, "max_tokens": 2_000}, key=made["secret"]))
            await reader.readuntil(b"data: ")
            await self._admin(f"keys/{made['id']}/revoke", {})
            try:
                said = await asyncio.wait_for(reader.read(-1), _PATIENCE_S)
            except (OSError, TimeoutError) as error:
                said = type(error).__name__.encode()
            finally:
                writer.close()
            cut = b'"error"' in said
            self.outcomes[
                f"revoked: {'ended with an error' if cut else said[-40:].decode(errors='replace')}"
            ] += 1
            await asyncio.sleep(_REVOKE_EVERY_S)

    async def _admin(self, path: str, body: Body) -> Body:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._main.admin_port)
        writer.write(request(body, key=ADMIN_KEY, path=f"/admin/{path}"))
        said = await reader.read(-1)
        writer.close()
        return json.loads(said.partition(b"\r\n\r\n")[2] or b"{}")


async def _outcome(reader: asyncio.StreamReader) -> str:
    """The status of the answer, and the code of its error, if there is one."""
    said = await reader.read(-1)
    code = said.rpartition(b'"code":"')[2].partition(b'"')[0].decode() if b'"code":"' in said else ""
    return f"{said[9:12].decode() or 'nothing'} {code}".rstrip()
