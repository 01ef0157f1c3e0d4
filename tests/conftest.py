import asyncio
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import uvicorn
from blockbuster import blockbuster_ctx
from hypothesis import settings
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from tests import hosted, vllm_models
from tests.in_process import InProcess
from tests.limits import LIMITS
from tests.postgres import Postgres, cluster
from tests.waiting import wait_for

from tessera.access.capacity import Capacity
from tessera.access.keys import OPERATOR, Identity, KeyRing, Keys
from tessera.access.limits import Limiter
from tessera.access.queue import EngineQueue
from tessera.access.tiers import DEFAULTS, OPERATOR_TIER, Tier
from tessera.catalog import Catalog, Model
from tessera.engine.host.frames import Start
from tessera.engine.llamacpp.files import GGUF
from tessera.engine.llamacpp.library import find_library
from tessera.engine.openvino.convert import IR
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer
from tessera.errors import StartupError
from tessera.formats.base import ChatFormat
from tessera.formats.hermes import HERMES
from tessera.grammars.base import Grammars
from tessera.http.app import build_app
from tessera.http.bodies import Bodies
from tessera.http.inflight import InFlight
from tessera.http.limits import HttpLimits
from tessera.http.service import Service
from tessera.models.cache import Cache, default_root
from tessera.models.progress import Quiet
from tessera.models.resolve import resolve
from tessera.models.source import ModelSource
from tessera.observe.metrics import Metrics
from tessera.server.http1.protocol import GuardedProtocol
from tessera.text.tokenizer import Tokenizer
from tessera.usage.base import Ledger

KEY = "sk-tessera-" + "k" * 40

# No example fails because the machine is slow. `make unit` tries fewer: --hypothesis-profile quick.
settings.register_profile("all", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=15)
settings.load_profile("all")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips the tests of vLLM, where there is none, before their fixtures are made: all in one line of the
    summary, which has a line for each test that a fixture skips.
    """
    if item.get_closest_marker("vllm"):
        hosted.vllm_python()


@pytest.fixture(scope="session", autouse=True)
def own_data_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps tests, and all that they start, from writing to the user's own store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Restores the handling of interrupts, which a shell turns off for tests in the background and all that
    they start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, started once."""
    with cluster() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that the test may stop and start."""
    with cluster() as server:
        yield server


_databases = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'tessera.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create(f"store{next(_databases)}")


@pytest.fixture(scope="session")
def model_folder() -> ModelSource:
    """The embedded model in the user's cache. The first test run fetches and converts it."""
    return resolve(None, Cache(default_root()), Quiet(), IR)


@pytest.fixture(scope="session")
def openvino_start(model_folder: ModelSource) -> Start:
    """The CPU engine on the embedded model."""
    return hosted.openvino_start(model_folder, 49_152)


@pytest.fixture(scope="session")
def llama_start() -> Start:
    """The llama.cpp engine on the embedded model; skipped where there is no library."""
    try:
        find_library(None)
    except StartupError as error:
        pytest.skip(str(error))
    return hosted.llama_start(resolve(None, Cache(default_root()), Quiet(), GGUF), 49_152)


@pytest.fixture(scope="session")
def vllm_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm")


@pytest.fixture(scope="session")
def vllm_qwen(vllm_home: Path) -> ModelSource:
    """A tiny Qwen3.6 of random weights; skipped where there is no vLLM."""
    hosted.vllm_python()
    return vllm_models.tiny_qwen36(vllm_home / "qwen36")


@pytest.fixture(scope="session")
def vllm_qwen_start(vllm_qwen: ModelSource, vllm_home: Path) -> Start:
    """vLLM on the tiny Qwen3.6, in bfloat16."""
    return vllm_models.vllm_start(vllm_qwen, len(vllm_models.QWEN_WORDS.tokens), vllm_home, precision="auto")


@pytest.fixture(scope="session")
def vllm_llama_start(vllm_home: Path) -> Start:
    """vLLM on a tiny llama of random weights, in float32."""
    hosted.vllm_python()
    source = vllm_models.tiny_llama(vllm_home / "llama")
    return vllm_models.vllm_start(source, len(vllm_models.QWEN_WORDS.tokens), vllm_home)


@pytest.fixture(scope="session")
def vllm_embedded_start(model_folder: ModelSource, vllm_home: Path) -> Start:
    """vLLM on the embedded model, whose weights were written out for it; skipped where there is no vLLM."""
    hosted.vllm_python()
    source = vllm_models.embedded_in_hf_form(model_folder, vllm_home / "embedded")
    return vllm_models.vllm_start(source, 49_152, vllm_home, threads=0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class OneKey(Keys):
    """Accepts the one key `KEY`, for some models or all."""

    def __init__(self, tier: Tier, models: frozenset[str] | None) -> None:
        super().__init__()
        self.add(KEY, OPERATOR, tier)
        self._models = models

    async def identify(self, authorization: str | None) -> Identity:
        return replace(await super().identify(authorization), models=self._models)


@dataclass(frozen=True)
class Served:
    """A real server on loopback, in a thread of its own, around a scripted engine."""

    engine: ScriptedEngine
    tokenizer: Tokenizer
    app: Starlette
    port: int
    loop: asyncio.AbstractEventLoop
    key: str = KEY

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def in_flight(self) -> InFlight:
        return self.app.state.service.in_flight

    @property
    def queue(self) -> EngineQueue:
        (queue,) = self.app.state.service.queues.values()
        return queue

    @property
    def bodies(self) -> Bodies:
        return self.app.state.service.bodies

    @property
    def metrics(self) -> Metrics:
        return self.app.state.service.metrics

    def call_soon(self, call: Callable[[], None]) -> None:
        """Calls the function in the server's loop."""
        self.loop.call_soon_threadsafe(call)

    def wait_until_idle(self) -> None:
        wait_for(self._is_idle)

    def _is_idle(self) -> bool:
        busy = self.engine.n_running or self.in_flight.n or self.queue.n_running
        return not busy and self.bodies.n_waiting == 0


Serve: TypeAlias = Callable[..., Served]


@pytest.fixture(scope="session")
def stopping() -> Iterator[list[threading.Thread]]:
    """The threads of servers that are stopping while the next test runs."""
    threads: list[threading.Thread] = []
    yield threads
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


@contextmanager
def running(app: ASGIApp, stopping: list[threading.Thread]) -> Iterator[int]:
    """The port of a uvicorn that serves `app`."""
    config = uvicorn.Config(
        app,
        port=0,
        loop="uvloop",
        http=GuardedProtocol,
        lifespan="on",
        ws="none",
        log_config=None,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.002)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        stopping.append(thread)


@pytest.fixture(scope="session")
def run_app(stopping: list[threading.Thread]) -> Callable[[ASGIApp], AbstractContextManager[int]]:
    """A context that serves an application and yields its port."""
    return lambda app: running(app, stopping)


@pytest.fixture
def serve(stopping: list[threading.Thread]) -> Iterator[Serve]:
    """Serve a `ScriptedEngine` made with the given arguments."""
    with ExitStack() as stack:
        stack.enter_context(blockbuster_ctx())

        def start(
            limits: HttpLimits = LIMITS,
            capacity: Capacity | None = None,
            *,
            tier: Tier = DEFAULTS[OPERATOR_TIER],
            models: frozenset[str] | None = None,
            keys: KeyRing | None = None,
            limiter: Limiter | None = None,
            chat_format: ChatFormat = HERMES,
            ledger: Ledger | None = None,
            grammars: Grammars | None = None,
            **engine_options: Any,
        ) -> Served:
            tokenizer = ScriptedTokenizer()
            engine = ScriptedEngine(tokenizer, **engine_options)
            sampling = chat_format.sampling
            grammars = grammars or InProcess(chat_format, tokenizer.control_tokens)
            model = Model(
                engine.info.model_id, engine, tokenizer, chat_format, sampling, created_s=1, grammars=grammars
            )
            catalog = Catalog([model], {"alias": model.id}, model.id)
            service = Service(
                catalog=catalog,
                keys=keys or OneKey(tier, models),
                limits=limits,
                capacities={model.id: capacity} if capacity else {},
                limiter=limiter,
                ledger=ledger,
            )
            app = build_app(service)
            loops: list[asyncio.AbstractEventLoop] = []

            async def noting_its_loop(scope: Scope, receive: Receive, send: Send) -> None:
                if scope["type"] == "lifespan":
                    loops.append(asyncio.get_running_loop())
                await app(scope, receive, send)

            port = stack.enter_context(running(noting_its_loop, stopping))
            return Served(engine, tokenizer, app, port, loops[0])

        yield start


@pytest.fixture
def served(serve: Serve) -> Served:
    return serve()
