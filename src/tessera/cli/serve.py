"""`tessera serve`: the model first, then the socket, then the engine; and the way down again."""

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Mapping
from typing import Any

import click
import uvicorn
import uvloop

from tessera import __version__
from tessera.access.admission import Capacity
from tessera.access.keys import Keys, generate_key
from tessera.app import build_app
from tessera.cli.assembly import catalog, load_model
from tessera.cli.draining import DrainingServer
from tessera.cli.options import with_settings
from tessera.cli.progress import TerminalProgress
from tessera.engine.openvino.private import PrivateEngine
from tessera.errors import EngineError, StartupError
from tessera.http.limits import HttpLimits
from tessera.http.protocol import GuardedProtocol
from tessera.models import Model
from tessera.settings import Settings
from tessera.telemetry import configure, log

_logger = logging.getLogger(__name__)

# Logs are ours, draining has waited already when uvicorn shuts down, and nothing is known of proxies.
_UVICORN: Mapping[str, Any] = {
    "ws": "none",
    "lifespan": "on",
    "log_config": None,
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_graceful_shutdown": 2,
}


@click.command()
@with_settings()
def serve(settings: Settings) -> None:
    """Serve a model behind OpenAI's API.

    The first start fetches and converts the model; later ones need no network. When tokens can flow, a line
    `export TESSERA_API_KEY=…` is printed, unless that variable is set already.
    """
    configure(settings.log_level, settings.log_format)
    # Bound first, so that a port in use is known before anything is downloaded; it listens later.
    with _bound(settings.host, settings.port) as listener:
        model = load_model(settings, TerminalProgress())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, model, listener))


async def _serve(settings: Settings, model: Model, listener: socket.socket) -> None:
    key = settings.api_key or generate_key()
    app = build_app(catalog(model, settings), Keys([key]), _limits(settings), _capacity(settings, model))
    config = uvicorn.Config(app, http=GuardedProtocol, **_UVICORN)
    server = DrainingServer(config, app.state.in_flight, settings.shutdown_grace_s)

    def announce() -> None:
        _announce(settings, model, _address(listener), None if settings.api_key else key)

    serving = asyncio.create_task(server.serve(sockets=[listener]))
    running = asyncio.create_task(_run_engine(model, server, announce))
    await asyncio.wait({serving, running}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    running.cancel()
    (ended,) = await asyncio.gather(running, return_exceptions=True)
    if isinstance(ended, EngineError) and not server.draining:
        raise StartupError(ended.message) from ended
    if isinstance(ended, Exception) and not isinstance(ended, EngineError):
        raise ended


async def _run_engine(model: Model, server: uvicorn.Server, announce: Callable[[], None]) -> None:
    """Until the engine is closed."""
    if isinstance(engine := model.engine, PrivateEngine):

        async def announce_when_ready() -> None:
            await engine.ready()
            announce()

        engine.connect()
        check = [model.grammars.start()] if model.grammars else []
        await asyncio.gather(engine.process.run(lambda: None), announce_when_ready(), *check)
        return
    while not server.started:  # noqa: ASYNC110 - uvicorn announces nothing
        await asyncio.sleep(0.01)
    announce()
    await asyncio.Event().wait()


def _announce(settings: Settings, model: Model, address: str, new_key: str | None) -> None:
    names = [alias for alias in settings.aliases if alias != model.id]
    log(
        _logger,
        "info",
        "serving",
        version=__version__,
        model=model.id,
        aliases=", ".join(names),
        context_tokens=model.context_tokens,
        address=address,
    )
    also = f", which also answers to {', '.join(names)}" if names else ""
    click.echo(f"Serving {model.id}{also}.")
    click.echo(f"Listening on {address}/v1, context {model.context_tokens} tokens.")
    if new_key:
        click.echo(f"export TESSERA_API_KEY={new_key}")


def _bound(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise StartupError(f"Cannot listen on {host}:{port}: {error.strerror or error}.") from error
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _limits(settings: Settings) -> HttpLimits:
    return HttpLimits(
        max_body_bytes=settings.max_body_bytes,
        body_deadline_s=settings.body_deadline_s,
        keep_alive_s=settings.keep_alive_s,
        send_deadline_s=settings.send_deadline_s,
        deadline_s=settings.deadline_s,
    )


def _capacity(settings: Settings, model: Model) -> Capacity:
    """Of one API process. A few more than the engine computes at once: as one ends, the next is there."""
    at_once = settings.max_running or math.ceil(1.25 * model.engine.info.max_sequences)
    return Capacity(
        max_running=math.ceil(at_once / settings.workers),
        max_queued=math.ceil(settings.max_queued / settings.workers),
        queue_deadline_s=settings.queue_deadline_s,
    )
