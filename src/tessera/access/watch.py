"""Running requests end when their key is no longer valid.

One task for each process asks the key ring again every few seconds: once for each key with running requests,
and through the cache, so that the store notices no more than it would of other requests with these keys.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Set
from contextlib import contextmanager
from typing import TypeAlias

from tessera.access.gate import check_models
from tessera.access.keys import KeyRing
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
        """Entered around a request with that `Authorization` header to the model of these names: `end` is
        called with the error if it may not go on.
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
        """Look every few seconds, for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.look()
            except Exception as error:  # those that follow must be checked all the same
                log(_logger, "error", "running keys not checked", error=type(error).__name__)

    async def look(self) -> None:
        """Ask once for each key, and end what may not go on. A store that cannot answer ends nothing."""
        for authorization in list(self._running):
            await asyncio.sleep(0)  # the ring may answer from memory, and there may be many keys
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
