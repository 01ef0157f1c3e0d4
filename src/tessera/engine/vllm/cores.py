"""vLLM's EngineCore, which computes in processes of its own, and our connection to it.

vLLM's client needs an event loop, so it has one in a thread. Outputs are collected there; a pipe tells the
engine's process that there are some.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from tessera.engine.vllm.api import Foreign
from tessera.engine.vllm.failures import FailureLog, describe
from tessera.errors import StartupError

OpenClient = Callable[[], Foreign]
"""Opens a client of an EngineCore, in the running event loop; takes as long as the model to load."""


class EngineCores:
    """Sends requests to an EngineCore, and collects what its steps have made."""

    def __init__(self, open_client: OpenClient, failures: FailureLog) -> None:
        """Returns when the model is loaded; raises `StartupError`. `failures` is where vLLM's processes log
        theirs.
        """
        self._failures = failures
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)
        self._lock = threading.Lock()
        self._collected: list[Foreign] = []
        self._death: BaseException | None = None
        self._last_step_s = time.monotonic()
        ready: Future[tuple[asyncio.AbstractEventLoop, Foreign]] = Future()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._run(open_client, ready)), name="vllm", daemon=True
        )
        thread.start()
        try:
            self._loop, self.client = ready.result()
        except Exception as error:
            reason = failures.first() or describe(error)
            raise StartupError(f"vLLM could not load the model: {reason}") from error
        failures.clear()

    def fileno(self) -> int:
        """Readable while something has been collected, or once EngineCore has died."""
        return self._readable

    @property
    def has_news(self) -> bool:
        """Whether `take` would return or raise anything."""
        return bool(self._collected) or self.is_dead

    @property
    def is_dead(self) -> bool:
        return self._death is not None

    @property
    def silent_s(self) -> float:
        """Seconds since the last step."""
        return time.monotonic() - self._last_step_s

    def touch(self) -> None:
        """Counts the silence from now on."""
        self._last_step_s = time.monotonic()

    def add(self, request: object) -> None:
        """Sends a request, after all that were sent before it."""
        self._send(self.client.add_request_async(request))

    def abort(self, ids: Sequence[str]) -> None:
        """Ends requests within a step; those that have ended already are ignored."""
        self._send(self.client.abort_requests_async([*ids]))

    def take(self) -> list[Foreign]:
        """The `EngineCoreOutputs` of the steps since the last call; raises why EngineCore has died."""
        with suppress(BlockingIOError):
            os.read(self._readable, 2**16)
        with self._lock:
            taken, self._collected = self._collected, []
        if self._death is not None:
            if not taken:
                reason = self._failures.last() or describe(self._death)
                raise RuntimeError(f"vLLM's EngineCore has died: {reason}") from self._death
            self._wake()  # what told of the death may have been read just now
        return taken

    def _send(self, sending: "asyncio.Future[None]") -> None:
        asyncio.run_coroutine_threadsafe(_ignoring_death(sending), self._loop)

    async def _run(self, open_client: OpenClient, ready: "Future[tuple[Foreign, Foreign]]") -> None:
        try:
            client = open_client()
        except BaseException as error:
            ready.set_exception(error)
            return
        ready.set_result((asyncio.get_running_loop(), client))
        try:
            while True:
                outputs = await client.get_output_async()
                with self._lock:
                    self._collected.append(outputs)
                self._wake()
        except BaseException as error:
            self._death = error
            self._wake()

    def _wake(self) -> None:
        self._last_step_s = time.monotonic()
        with suppress(BlockingIOError):
            os.write(self._writable, b"\0")


async def _ignoring_death(sending: Foreign) -> None:
    """What is sent to an EngineCore that has died is lost; `take` reports the death."""
    with suppress(Exception):
        await sending
