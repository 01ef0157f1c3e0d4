"""The servers that `http_layer` loads, each a process on one core: `python -m benchmarks.http_servers NAME`.

All answer chat requests with the same stream, token by token. `tessera` is the service as it is, around an
engine without a model; `raw` writes the same bytes from an ASGI application that does nothing else.
"""

import argparse
import asyncio
import atexit
import gc
import itertools
import os
import shutil
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from tessera.access.keys import Keys
from tessera.catalog import Catalog, Model
from tessera.core.events import TextDelta
from tessera.engine.scripted.engine import WORDS, ScriptedEngine, ScriptedTokenizer, at_once, cycling, paced
from tessera.formats.hermes import HERMES
from tessera.http.app import build_app
from tessera.http.delivery import HEADERS
from tessera.http.service import Service
from tessera.observe.metrics import Metrics
from tessera.server.http1.protocol import GuardedProtocol
from tessera.server.wiring import limits
from tessera.settings import Settings
from tessera.store.database import open_database
from tessera.store.migration import upgrade
from tessera.usage.base import Ledger
from tessera.usage.ledger import SqlLedger
from tessera.wire.reply import Header
from tessera.wire.stream import DONE, ChunkWriter

KEY = "sk-tessera-" + "b" * 40
MODEL = "tessera/scripted"
N_EVENTS = 512
"""Events of a reply, unless the engine is paced: then replies end with their connection."""


def recorded(tokens_per_chunk: int, tokens_per_s: float, n_events: int) -> ASGIApp:
    """The same with usage recorded, in an SQLite file that is deleted when the process ends."""
    folder = Path(mkdtemp(prefix="tessera-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    store = open_database(f"sqlite:///{folder}/tessera.db", survives_power_cut=False)
    upgrade(store)
    metrics = Metrics()
    ledger = SqlLedger(store, folder / "spool", metrics, retention_days=90)
    return tessera(tokens_per_chunk, tokens_per_s, n_events, metrics, ledger)


def tessera(
    tokens_per_chunk: int,
    tokens_per_s: float,
    n_events: int,
    metrics: Metrics | None = None,
    ledger: Ledger | None = None,
) -> ASGIApp:
    """The service with keys, put together as `tessera serve` does it."""
    tokenizer = ScriptedTokenizer()
    engine = ScriptedEngine(
        tokenizer,
        cycling(tokenizer, n_tokens=n_events * tokens_per_chunk),
        paced(tokens_per_s) if tokens_per_s else at_once,
        model_id=MODEL,
        tokens_per_chunk=tokens_per_chunk,
        context_tokens=2**30,
    )
    model = Model(MODEL, engine, tokenizer, HERMES, HERMES.sampling, created_s=1)
    return build_app(
        Service(
            catalog=Catalog([model], {}, MODEL),
            keys=Keys([KEY]),
            limits=limits(Settings()),
            metrics=metrics,
            ledger=ledger,
        )
    )


def raw(tokens_per_chunk: int, tokens_per_s: float, n_events: int) -> ASGIApp:
    """An application that sends frames which were made before the first request, each with one `send`."""
    spell = ScriptedTokenizer().token_bytes
    writer = ChunkWriter(Header("chatcmpl-" + "0" * 24, 1_800_000_000, MODEL), spell)
    words = itertools.cycle(WORDS)
    texts = ["".join(itertools.islice(words, tokens_per_chunk)) for _ in WORDS]
    writer.write([TextDelta(0, "")])  # the one with the role
    frames = [writer.write([TextDelta(0, text)]) for text in texts]
    pause_s = 1 / tokens_per_s if tokens_per_s else 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        for i, frame in enumerate(itertools.islice(itertools.cycle(frames), n_events)):
            await asyncio.sleep(pause_s if i else 0)
            await send({"type": "http.response.body", "body": frame, "more_body": True})
        await send({"type": "http.response.body", "body": DONE, "more_body": False})

    return app


APPS: Mapping[str, tuple[Callable[[int, float, int], ASGIApp], str | type[asyncio.Protocol]]] = {
    "tessera": (tessera, GuardedProtocol),
    "recorded": (recorded, GuardedProtocol),
    "raw": (raw, "httptools"),
}


def main() -> None:
    """Listens on a free port of the loopback interface, prints the port, and serves until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_servers", description=__doc__)
    parser.add_argument("app", choices=APPS)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--tokens-per-chunk", type=int, default=1)
    parser.add_argument("--tokens-per-s", type=float, default=0.0, help="of each stream; 0: without pause")
    parser.add_argument("--events", type=int, default=N_EVENTS, help="of each reply")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {chosen.core})
    build, protocol = APPS[chosen.app]
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(f"listening on {listener.getsockname()[1]}", flush=True)
        app = build(chosen.tokens_per_chunk, chosen.tokens_per_s, chosen.events)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=protocol,  # pyright: ignore[reportArgumentType]
            lifespan="off" if chosen.app == "raw" else "on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        gc.freeze()  # as `tessera serve` does
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
