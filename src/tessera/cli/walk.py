"""Which of our functions one request passes, in order and with times.

A `CallTrace` is recorded by the interpreter's profile hook. It sees the task that enters it and the tasks
that this one starts: the ASGI application, the pipeline, and a scripted engine. It does not see other threads
and processes. The hook costs time itself: compare times with each other only.
"""

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType, TracebackType
from typing import NamedTuple, Self

import httpx2

import tessera
from tessera.access.keys import generate_key
from tessera.server.asgi import create_app
from tessera.settings import Settings

_is_traced: ContextVar[bool] = ContextVar("is_traced", default=False)
_SOURCE = str(Path(tessera.__file__).parent) + "/"


class FunctionCall(NamedTuple):
    """One call of a function: when it came, how deep in our own code, and what was called. A coroutine and a
    generator are called anew each time they go on.
    """

    at_s: float
    depth: int
    code: CodeType

    @property
    def file(self) -> str:
        """Such as `http/chat.py`."""
        return self.code.co_filename.removeprefix(_SOURCE)

    @property
    def function(self) -> str:
        """Such as `http/chat.py:ChatCompletions.__call__`."""
        return f"{self.file}:{self.code.co_qualname}"


class CallTrace:
    """The calls while it is entered, of functions that have a name."""

    def __init__(self) -> None:
        self.calls: list[FunctionCall] = []
        self._begun_s = 0.0
        self._depth = 0

    def __enter__(self) -> Self:
        self._token = _is_traced.set(True)
        self._begun_s = time.perf_counter()
        sys.setprofile(self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.setprofile(None)
        _is_traced.reset(self._token)

    def first_calls(self) -> Iterator[FunctionCall]:
        """The first call of each function, in order."""
        seen: set[CodeType] = set()
        for call in self.calls:
            if call.code not in seen:
                seen.add(call.code)
                yield call

    def files(self) -> list[str]:
        """In the order in which they are reached."""
        return list(dict.fromkeys(call.file for call in self.calls))

    def files_before(self, function: str) -> list[str]:
        """The files that are reached before that function."""
        before = next(n for n, call in enumerate(self.calls) if call.function == function)
        return list(dict.fromkeys(call.file for call in self.calls[:before]))

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        is_ours = code.co_filename.startswith(_SOURCE) and code.co_filename != __file__
        if not is_ours or code.co_name.startswith("<") or not _is_traced.get():
            return
        if event == "call":
            self.calls.append(FunctionCall(time.perf_counter() - self._begun_s, self._depth, code))
            self._depth += 1
        elif event == "return":
            self._depth = max(0, self._depth - 1)


async def walk(settings: Settings, body: bytes) -> tuple[CallTrace, bytes]:
    """Send one chat request to the service of these settings, with an empty store of its own and without a
    socket; return the walk and the body of the answer. Raises `StartupError`.
    """
    with TemporaryDirectory(prefix="tessera-walk-") as folder:
        store = f"sqlite:///{folder}/tessera.db"
        key = generate_key()
        app = create_app(dataclasses.replace(settings, database_url=store, api_key=key, pepper=None))
        app.middleware_stack = app.build_middleware_stack()  # as a server does at its start
        async with app.router.lifespan_context(app):
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://tessera", headers=headers
            ) as client:
                with CallTrace() as walked:
                    answer = await client.post("/v1/chat/completions", content=body)
    return walked, answer.content
