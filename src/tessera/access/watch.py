"""Ends running requests when their key is no longer valid.

One task in each process looks up the keys of running requests every few seconds, each once. It goes through
the key ring's cache, so it adds no more load on the store than other requests with these keys would.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Set
from contextlib import contextmanager
from typing import TypeAlias

from tessera.access.keys import KeyRing
from tessera.access.permit import check_models
from tessera.errors import AuthenticationError, PermissionDenied, StoreUnavailable, TesseraError
from tessera.observe.logs import log

EVERY_S = 5.0

End: TypeAlias = Callable[[TesseraError], None]

_logger = logging.getLogger(__name__)


class KeyWatch:
    """The running requests of one event loop, by their keys."""

    def __init__(self, keys: KeyRing, every_s: float = EVERY_S) -> None:
        self._keys = keys
        self._every_s = every_s
        self._running: dict[str | None, dict[object, tuple[Set[str], End]]] = {}

    @contextmanager
    def over(self, authorization: str | None, names: Set[str], end: End) -> Generator[None]:
        """Entered around a request with that `Authorization` header to the model of these names. Calls `end`
        with the error if the request may not go on.
        """
        request = object()
        self._running.setdefault(authorization, {})[request] = names, end
        try:
            yield
        finally:
            requests = self._running[authorization]
            del requests[request]
            if not requests:
                del self._running[authorization]

    async def run(self) -> None:
        """Checks every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.check()
            except Exception as error:  # a bug must not end this task
                log(_logger, "error", "running keys not checked", error=type(error).__name__)

    async def check(self) -> None:
        """Checks each key once. If the store cannot answer, no request is ended."""
        for authorization in list(self._running):
            # The ring may answer from memory: without this, many keys would block the event loop.
            await asyncio.sleep(0)
            try:
                identity = await self._keys.identify(authorization)
            except StoreUnavailable:
                continue
            except (AuthenticationError, PermissionDenied) as error:
                for _, end in list(self._running.get(authorization, {}).values()):
                    end(error)
                continue
            for names, end in list(self._running.get(authorization, {}).values()):
                try:
                    check_models(identity, names)
                except PermissionDenied as error:
                    end(error)
