"""A real browser on a real server with a scripted engine; skipped where there is no browser."""

import asyncio
import importlib
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
from tests.conftest import KEY, OneKey, running
from tests.in_process import InProcess
from tests.limits import LIMITS

from tessera.access.tiers import DEFAULTS, OPERATOR_TIER
from tessera.catalog import Catalog, Model
from tessera.core.generation import Feature
from tessera.engine.scripted.engine import ScriptedEngine, ScriptedTokenizer, saying
from tessera.formats.hermes import HERMES
from tessera.http.app import build_app
from tessera.http.service import Service

Page: TypeAlias = Any
"""Playwright's, which need not be installed to check the types."""

Open: TypeAlias = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    # Not for the session: while Playwright is started, its event loop counts as running in this thread.
    try:
        playwright = importlib.import_module("playwright.sync_api")
    except ModuleNotFoundError:
        pytest.skip("playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass(frozen=True)
class Scripted:
    """A server whose model replies with what the test sets."""

    url: str
    tokenizer: ScriptedTokenizer
    engine: ScriptedEngine
    also: list[str] = field(default_factory=list[str])
    """Addresses of other servers that pages of the test may ask."""

    def say(self, text: str) -> None:
        self.engine.script = saying(self.tokenizer, text)

    def pace(self, seconds: float) -> None:
        """Waits for so many seconds before each token."""

        async def timing(step: int) -> None:
            await asyncio.sleep(seconds)

        self.engine.timing = timing


@pytest.fixture
def scripted(stopping: list[threading.Thread]) -> Iterator[Scripted]:
    tokenizer = ScriptedTokenizer()
    features: tuple[Feature, ...] = ("n", "logprobs", "thinking_budget", "grammar")
    engine = ScriptedEngine(tokenizer, features=features, context_tokens=200_000, tokens_per_chunk=4)
    grammars = InProcess(HERMES, tokenizer.control_tokens)
    model = Model(
        engine.info.model_id, engine, tokenizer, HERMES, HERMES.sampling, created_s=1, grammars=grammars
    )
    service = Service(
        catalog=Catalog([model], {"alias": model.id}, model.id),
        keys=OneKey(DEFAULTS[OPERATOR_TIER], None),
        limits=LIMITS,
        web=True,
    )
    with ExitStack() as stack:
        port = stack.enter_context(running(build_app(service), stopping))
        one = Scripted(f"http://127.0.0.1:{port}", tokenizer, engine)
        one.say("Hello.")
        yield one


@pytest.fixture
def open_page(chromium: Any, scripted: Scripted) -> Iterator[Open]:
    """Opens a path. At the end of the test no page may have met an error or asked anyone but the server."""
    problems: list[str] = []
    contexts: list[Any] = []

    def note(message: Any, tolerated: str) -> None:
        # A response with an error status is logged by the browser itself.
        known = ("the server responded with a status", *([tolerated] if tolerated else []))
        if message.type in ("error", "warning") and not any(text in message.text for text in known):
            problems.append(message.text)

    def is_own(request: Any) -> bool:
        return request.url.startswith((scripted.url, "blob:", *scripted.also))

    def one(
        path: str = "/",
        *,
        width: int = 1440,
        language: str = "en",
        dark: bool = False,
        key: str = KEY,
        bypass_csp: bool = False,
        tolerated: str = "",
    ) -> Page:
        """`bypass_csp` is for tests that bring a script of their own; `tolerated` is part of an error that
        the browser may report.
        """
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            locale=language,
            color_scheme="dark" if dark else "light",
            bypass_csp=bypass_csp,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: note(message, tolerated))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: is_own(request) or problems.append(request.url))
        page.goto(scripted.url + path)
        if path == "/" and key:
            page.locator("input[type=password]").fill(key)
            page.keyboard.press("Tab")
            page.locator("option", has_text="alias").first.wait_for(state="attached")
        return page

    yield one
    for context in contexts:
        context.close()
    assert problems == []
