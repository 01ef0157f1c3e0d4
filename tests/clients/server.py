"""The servers that clients are tried against: a scripted one that keeps what it is asked, and a real one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests.clients.directed import obeying
from tests.conftest import running
from tests.limits import LIMITS
from tests.scripts import CAN_ALL

from tessera.access.keys import AccountId, Keys, generate_key
from tessera.access.tiers import DEFAULTS, OPERATOR_TIER
from tessera.catalog import Catalog, Model
from tessera.engine.scripted.engine import CHATML, ScriptedEngine, ScriptedTokenizer
from tessera.formats.hermes import HERMES
from tessera.formats.qwen3 import QWEN3, QWEN3_TOKENS
from tessera.grammars.checker import GrammarCheck
from tessera.http.app import build_app
from tessera.http.service import Service

MODEL, OTHER_FAMILY = "Qwen/Qwen3.6-35B-A3B", "scripted/json-calls"
EXPECTED = "/expected"
"""Requests under this path are meant to be refused, or to be given up."""
CONTEXT_TOKENS = 2**21  # of bytes: an agent's tools and instructions are 100 kB of them
SMALL_CONTEXT_TOKENS = 512


@dataclass(frozen=True)
class Exchange:
    """A request and its answer; `reply` is kept only of refusals."""

    path: str
    body: bytes
    status: int
    ignored: str
    reply: str


@dataclass
class Recorder:
    """Passes requests on and records them. Also answers how many generations are running."""

    app: ASGIApp
    engines: list[ScriptedEngine]
    phrases: dict[str, Any]
    exchanges: list[Exchange] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif scope["path"] == "/running":
            n = sum(engine.n_running for engine in self.engines)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": str(n).encode()})
        elif scope["path"] == "/phrases":
            self.phrases |= json.loads((await receive())["body"])
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})
        elif scope["path"].startswith(EXPECTED):
            await self.app({**scope, "path": scope["path"].removeprefix(EXPECTED)}, receive, send)
        else:
            await self._record(scope, receive, send)

    async def _record(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked, answered = bytearray(), bytearray()
        start: MutableMapping[str, Any] = {"status": 0, "headers": []}

        async def receiving() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif start["status"] >= 400:
                answered.extend(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receiving, sending)
        finally:
            headers = {name.lower(): value.decode() for name, value in start["headers"]}
            ignored = headers.get(b"x-tessera-ignored-params", "")
            self.exchanges.append(
                Exchange(scope["path"], bytes(asked), start["status"], ignored, answered.decode())
            )


@dataclass(frozen=True)
class Scripted:
    """The server with scripted replies, and its keys."""

    url: str
    recorder: Recorder
    key: str
    small_key: str
    """Its account has a context of `SMALL_CONTEXT_TOKENS`."""
    spent_key: str
    """Its account has one request a minute."""


@contextmanager
def scripted() -> Iterator[Scripted]:
    """Serves two families of models: one that writes calls in XML, as the default, and one in JSON."""
    phrases: dict[str, Any] = {}
    tokenizer = ScriptedTokenizer(control=sorted(QWEN3_TOKENS.union(CHATML)))
    families = {MODEL: QWEN3, OTHER_FAMILY: HERMES}
    engines = [
        ScriptedEngine(
            tokenizer,
            obeying(tokenizer, family, phrases),
            model_id=name,
            context_tokens=CONTEXT_TOKENS,
            features=CAN_ALL,
        )
        for name, family in families.items()
    ]
    control, size = tokenizer.control_tokens, tokenizer.vocabulary_size
    models = [
        Model(
            name,
            engine,
            tokenizer,
            family,
            family.sampling,
            created_s=1,
            grammars=GrammarCheck(control, size, family.syntax),
        )
        for (name, family), engine in zip(families.items(), engines, strict=True)
    ]
    tier = DEFAULTS[OPERATOR_TIER]
    tiers = {
        "all": tier,
        "small": replace(tier, context_tokens=SMALL_CONTEXT_TOKENS),
        "spent": replace(tier, sustained_rpm=1, burst_rpm=1),
    }
    keys, names = Keys(), {name: generate_key() for name in tiers}
    for name, key in names.items():
        keys.add(key, AccountId(name), tiers[name])
    app = build_app(Service(catalog=Catalog(models, {}, MODEL), keys=keys, limits=LIMITS))
    recorder = Recorder(app, engines, phrases)
    stopping: list[Any] = []
    with running(recorder, stopping) as port:
        yield Scripted(f"http://127.0.0.1:{port}", recorder, names["all"], names["small"], names["spent"])
    for thread in stopping:
        thread.join(timeout=60)


@contextmanager
def embedded(folder: Path) -> Iterator[tuple[str, str]]:
    """`tessera serve` with the embedded model: its URL and a key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TESSERA_")}
    key = generate_key()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("tessera"), "serve", "--port", "0"],
        env={**kept, "TESSERA_API_KEY": key, "TESSERA_DATABASE_URL": f"sqlite:///{folder / 'store.db'}"},
        stdout=subprocess.PIPE,
        stderr=(folder / "server.log").open("w"),
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            _, listening = process.stdout.readline(), process.stdout.readline()
            if not listening:
                raise RuntimeError(f"tessera serve ended: {(folder / 'server.log').read_text()[-600:]}")
            yield listening.split()[2].removesuffix("/v1,"), key
        finally:
            process.terminate()


def as_other_family(body: bytes) -> bytes:
    """The same request to the model of the other family, for a single token."""
    fewest = {"max_tokens": 1, "max_completion_tokens": 1}
    return json.dumps({**json.loads(body), "model": OTHER_FAMILY, **fewest}).encode()
