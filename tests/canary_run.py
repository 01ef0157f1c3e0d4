"""Servers with everything on, in a place of their own, and all that can be seen of them from outside."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
import pytest
from redis import Redis
from tests.canary import Secrets
from tests.otlp_receiver import Receiver
from tests.otlp_receiver import receiver as receiver
from tests.redis_server import RedisServer
from tests.redis_server import redis_server as redis_server
from tests.serving import TESSERA, children, command, free_port

from tessera.access.keys import KeyHasher
from tessera.server.storage import pepper
from tessera.settings import Settings
from tessera.store import accounts, keys
from tessera.store.database import open_database, transaction
from tessera.store.keys import Terms
from tessera.store.migration import upgrade

CHAT = "/v1/chat/completions"
ACCOUNT = "acmeholdings"
TIERS = (
    "{tiny = {sustained_rpm = 2, burst_rpm = 2, context_tokens = 4096, thinking_tokens_per_day = 9, "
    "concurrency = 1, priority = 0}}"
)


def question(secrets: Secrets) -> dict[str, Any]:
    """A request with a secret in every field that takes text."""
    new = secrets.new
    arguments = json.dumps({new("argument's name"): new("argument")})
    call = {
        "id": new("call id"),
        "type": "function",
        "function": {"name": new("called name"), "arguments": arguments},
    }
    return {
        "messages": [
            {"role": "system", "content": new("system")},
            {"role": "developer", "content": new("developer")},
            {"role": "user", "content": new("user"), "name": new("user's name")},
            {"role": "assistant", "content": new("assistant"), "reasoning_content": new("reasoning")},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": new("tool"), "tool_call_id": call["id"]},
            {"role": "user", "content": [{"type": "text", "text": new("part")}]},
        ],
        "stop": [new("stop")],
        "user": new("user field"),
        "safety_identifier": new("safety identifier"),
        "prompt_cache_key": new("prompt cache key"),
        "metadata": {new("metadata's name"): new("metadata")},
        new("unknown field"): new("unknown value"),
        "max_tokens": 4,
    }


@dataclass
class Run:
    """The folder of one run, its secrets, and what was found in its files."""

    home: Path
    receiver: Receiver
    redis: RedisServer
    secrets: Secrets = field(default_factory=Secrets)
    seen: dict[str, bytes] = field(default_factory=dict[str, bytes])
    keys: dict[str, str] = field(default_factory=dict[str, str])
    digests: list[bytes] = field(default_factory=list[bytes])

    def __post_init__(self) -> None:
        new = self.secrets
        self.pepper = new.new("pepper", "pepper-of-the-server-")
        self.keys = {
            what: new.key(f"key: {what}") for what in ("operator", "pro", "tiny", "revoked", "unknown")
        }
        self.admin_key = new.key("admin key")
        self.question = question(new)
        self.url = f"sqlite:///{self.home / 'store/tessera.db'}"
        (self.home / "logs").mkdir()
        (self.home / "run").mkdir()

    @property
    def environment(self) -> dict[str, str]:
        foreign = ("TESSERA_", "HF_", "OTEL_", "XDG_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        homes = {
            f"XDG_{kind}_HOME": str(self.home / kind.lower()) for kind in ("DATA", "CACHE", "STATE", "CONFIG")
        }
        own = {
            "API_KEY": self.keys["operator"],
            "ADMIN_KEY": self.admin_key,
            "PEPPER": self.pepper,
            "DATABASE_URL": self.url,
            "REDIS_URL": self.redis.url,
            "CACHE_DIR": str(self.home / "cache"),
            "OTLP_ENDPOINT": self.receiver.url,
            "LOG_LEVEL": "debug",
            "TIERS": TIERS,
            "MAX_BODY_BYTES": "64KiB",
        }
        here = {"HOME": str(self.home), "TMPDIR": str(self.home / "run"), "OTEL_BSP_SCHEDULE_DELAY": "50"}
        return kept | homes | here | {f"TESSERA_{name}": value for name, value in own.items()}

    def fill_store(self) -> None:
        """Creates an account for each stored key."""
        store, hasher = (
            open_database(self.url),
            KeyHasher(pepper(Settings(pepper=self.pepper, database_url=self.url))),
        )
        upgrade(store)
        with transaction(store) as changes:
            for what, tier in (("pro", "pro"), ("tiny", "tiny"), ("revoked", "lite")):
                owner, secret = (
                    accounts.create(changes, f"{ACCOUNT}-{what}", tier, by="test"),
                    self.keys[what],
                )
                self.digests.append(hasher.digest(secret))
                kept = keys.create(
                    changes, owner, Terms("dev"), digest=self.digests[-1], last4=secret[-4:], by="test"
                )
                if what == "revoked":
                    keys.revoke(changes, kept.id, by="test")
        store.dispose()

    def look(self, when: str) -> None:
        """Keeps the present content of files, tables and Redis."""
        for path in self.home.rglob("*"):
            if path.is_file() and not path.is_symlink():
                self.seen[f"{when}: {path.relative_to(self.home)}"] = path.read_bytes()
        with sqlite3.connect(self.home / "store/tessera.db") as database:
            self.seen[f"{when}: tables"] = "\n".join(database.iterdump()).encode()
        database.close()
        with Redis.from_url(self.redis.url) as redis:
            for key in redis.scan_iter():
                value: Any = redis.hgetall(key) if redis.type(key) == b"hash" else redis.zrange(key, 0, -1)
                self.seen[f"{when}: redis {key!r}"] = key + repr(value).encode()
        self.seen[f"{when}: traces"] = b"".join(self.receiver.bodies)

    def told_to_others(self) -> dict[str, bytes]:
        """What leaves the server. Not even digests of keys or names of accounts belong there."""
        words = ("logs/", "traces", "metrics", "redis", "process")
        return {
            place: content for place, content in self.seen.items() if any(word in place for word in words)
        }


@dataclass
class Server:
    run: Run
    name: str
    process: "subprocess.Popen[str]"
    url: str
    admin: str

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def post(self, fields: Mapping[str, Any], key: str = "pro", **options: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {self.run.keys[key]}"} | options.pop("headers", {})
        return httpx2.post(self.url + CHAT, json=fields, headers=headers, timeout=60, **options)

    def begin(self, fields: Mapping[str, Any]) -> socket.socket:
        """Sends a request without waiting for the reply."""
        connection = socket.create_connection(self.address, timeout=60)
        body = json.dumps(fields)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.run.keys['pro']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall((head + body).encode())
        return connection

    def processes(self) -> list[int]:
        """The ids of the server's processes, its main process first."""
        found = [self.process.pid]
        for id in found:
            found += children(id)
        return found

    def look(self, when: str) -> None:
        """Also keeps what only a running server shows. Its own environment is left out, since the key came
        from it.
        """
        when = f"{self.name} {when}"
        self.run.look(when)
        seen, (_, *others) = self.run.seen, self.processes()
        seen[f"{when}: metrics"] = httpx2.get(f"{self.admin}/metrics", timeout=60).content
        for id in self.processes():
            seen[f"{when}: process {id} command"] = command(id).encode()
        for id in others:
            with suppress(OSError):  # it has ended
                seen[f"{when}: process {id} environment"] = Path(f"/proc/{id}/environ").read_bytes()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=300)


@pytest.fixture
def run(receiver: Receiver, redis_server: RedisServer) -> Iterator[Run]:
    with TemporaryDirectory() as home:  # a short path: sockets are in it
        made = Run(Path(home), receiver, redis_server)
        made.fill_store()
        yield made
    with Redis.from_url(redis_server.url) as redis:
        redis.flushall()


@pytest.fixture
def serve(run: Run) -> Iterator[Callable[..., Server]]:
    processes: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: object) -> Server:
        port = free_port()
        flags = ["serve", "--port", "0", "--admin-port", str(port), *map(str, arguments)]
        with (run.home / f"logs/{name}.log").open("w") as log:
            process = subprocess.Popen(
                [TESSERA, *flags],
                env=run.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=run.home,
            )
        processes.append(process)
        assert process.stdout
        lines = [process.stdout.readline() for _ in range(2)]
        run.seen[f"{name}: process output"] = "".join(lines).encode()
        return Server(
            run, name, process, lines[1].split()[2].removesuffix("/v1,"), f"http://127.0.0.1:{port}"
        )

    yield start
    for process in processes:
        with process:
            process.kill()
