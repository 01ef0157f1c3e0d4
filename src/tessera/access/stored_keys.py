"""Keys of the store, looked up in threads and cached.

A cached key is used for `fresh_s`: so every change in the store takes effect within that time in every
process. A key in use is looked up again after half of that time, while its requests go on. While the store
cannot answer, cached keys go on working for `GRACE_S`. All others get 503, never 401: nothing is known about
them. A text that does not have the form of our keys is not looked up.
"""

import asyncio
import hmac
import logging
import math
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tessera.access.identities import identity_of
from tessera.access.keys import PREFIX, Identity, KeyHasher, Keys, bearer, incorrect
from tessera.access.tiers import Tiers
from tessera.errors import StoreUnavailable
from tessera.observe.logs import log
from tessera.observe.metrics import Metrics
from tessera.store.failures import reason_of
from tessera.store.holders import Holder
from tessera.store.threads import call_within, shut_down

T = TypeVar("T")

NOTING_S = 60.0
GRACE_S = 3600.0
"""A cached key works for so long while the store cannot answer."""

ABSENT_S = 5.0
"""An unknown digest is not looked up again for so long."""

ANSWER_S = 3.0
"""The timeout of a look-up."""

PAUSE_S = 1.0
"""After a failure nothing is looked up for so long."""

MAX_ABSENT = 1024
MAX_FOUND = 16_384
MAX_ASKING = 256
"""Look-ups of unknown digests at once."""

_N_THREADS = 4
_MADE_HERE = re.compile(re.escape(PREFIX) + "[A-Za-z0-9]{40}")

_logger = logging.getLogger(__name__)


class KeyStore(Protocol):
    """The stored keys by their digests. The methods block, and raise `StoreUnavailable`."""

    def find(self, digest: bytes, former: bytes | None = None) -> Holder | None:
        """`former` is the digest by the pepper before a rotation."""
        ...

    def touch(self, used: Mapping[str, float]) -> None:
        """Notes when keys were last used: Unix time by id."""
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    """A cached key; it was looked up at `asked_s`."""

    holder: Holder
    salt: bytes
    asked_s: float


class StoredKeys:
    """A `KeyRing`: the configured keys, then those of the store."""

    def __init__(
        self,
        known: Keys,
        hasher: KeyHasher,
        store: KeyStore,
        tiers: Tiers,
        *,
        fresh_s: float,
        metrics: Metrics | None = None,
        noting_s: float = NOTING_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """When keys were last used is written to the store every `noting_s`."""
        self._known = known
        self._hasher = hasher
        self._store = store
        self._tiers = tiers
        self._fresh_s = fresh_s
        self._noting_s = noting_s
        self._clock = clock
        self._metrics = metrics or Metrics()
        self._found: dict[bytes, _Found] = {}
        self._absent: dict[bytes, float] = {}
        self._asking: dict[bytes, asyncio.Task[None]] = {}
        self._failed_s: float | None = None
        self._used: dict[str, float] = {}
        self._noting: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(_N_THREADS, "keys")

    async def identify(self, authorization: str | None) -> Identity:
        """Also raises `PermissionDenied`, if the account's tier is not configured here."""
        key = bearer(authorization)
        if identity := self._known.find(key):
            return identity
        if not _MADE_HERE.fullmatch(key):
            raise incorrect(key)
        digest = self._hasher.digest(key)
        former = self._hasher.former
        found = await self._find(digest, former and former.digest(key))
        kept = found.holder.digest if found else bytes(len(digest))
        if not hmac.compare_digest(kept, digest) or found is None:
            raise incorrect(key)
        return self._judge(found)

    async def aclose(self) -> None:
        if self._noting:
            self._noting.cancel()
        if self._used:
            await self._note()
        await shut_down(self._threads)

    async def _find(self, digest: bytes, former: bytes | None) -> _Found | None:
        """The key from the cache or from the store; raises `StoreUnavailable`."""
        now_s = self._clock()
        found = self._found.get(digest)
        age_s = now_s - found.asked_s if found else math.inf
        if age_s < self._fresh_s / 2 or now_s - self._absent.get(digest, -math.inf) < ABSENT_S:
            return found
        is_failing = self._failed_s is not None
        if age_s < self._fresh_s or (is_failing and age_s < GRACE_S):
            with suppress(StoreUnavailable):
                self._ask(digest, former)
            return self._stale(found, age_s)
        try:
            await asyncio.shield(self._ask(digest, former))
        except StoreUnavailable:
            if age_s < GRACE_S:
                return self._stale(found, age_s)
            raise
        return self._found.get(digest)

    def _stale(self, found: _Found | None, age_s: float) -> _Found | None:
        if age_s >= self._fresh_s:
            self._metrics.stale_keys.inc()
        return found

    def _ask(self, digest: bytes, former: bytes | None) -> asyncio.Task[None]:
        """One look-up for all requests with this digest; raises `StoreUnavailable` if none should be tried
        now.
        """
        if digest in self._asking:
            return self._asking[digest]
        is_paused = self._failed_s is not None and self._clock() < self._failed_s + PAUSE_S
        # A flood of unknown keys must not keep known keys from being looked up again.
        is_crowded = len(self._asking) >= MAX_ASKING and digest not in self._found
        if is_paused or is_crowded:
            raise StoreUnavailable(
                "It is not known now whose key this is. Send the request again.", retry_after_s=PAUSE_S
            )
        task = self._asking[digest] = asyncio.create_task(self._read(digest, former))

        def forget(task: asyncio.Task[None]) -> None:
            del self._asking[digest]
            if not task.cancelled():
                task.exception()  # retrieved here: there may be no request any more that awaits it

        task.add_done_callback(forget)
        return task

    async def _read(self, digest: bytes, former: bytes | None) -> None:
        asked_s = self._clock()
        try:
            with self._metrics.store_call_s.labels("key").time():
                holder = await call_within(self._threads, lambda: self._store.find(digest, former), ANSWER_S)
        except Exception as error:  # of any class: it says nothing about the key
            if self._failed_s is None:
                n_cached = len(self._found)
                log(_logger, "error", "key store unavailable", reason=reason_of(error), n_cached=n_cached)
            self._failed_s = self._clock()
            if isinstance(error, StoreUnavailable):
                raise
            raise StoreUnavailable("The store of accounts cannot answer. Send the request again.") from error
        if self._failed_s is not None:
            log(_logger, "info", "key store available again")
            self._failed_s = None
        if holder is None:
            self._found.pop(digest, None)
            _keep(self._absent, digest, asked_s, MAX_ABSENT)
        else:
            self._absent.pop(digest, None)
            salt = self._hasher.salt(holder.account.id)
            _keep(self._found, digest, _Found(holder, salt, asked_s), MAX_FOUND)

    def _judge(self, found: _Found) -> Identity:
        """The key's identity; raises if it may not be used now."""
        now_s = time.time()
        identity = identity_of(found.holder, found.salt, self._tiers, now_s)
        self._used[identity.key_id] = now_s
        if self._noting is None or self._noting.done():
            self._noting = asyncio.create_task(self._note_later())
        return identity

    async def _note_later(self) -> None:
        await asyncio.sleep(self._noting_s)
        await self._note()

    async def _note(self) -> None:
        used, self._used = self._used, {}
        # Losing this is harmless: the usage has the requests.
        with suppress(Exception):
            await call_within(self._threads, lambda: self._store.touch(used), ANSWER_S)


def _keep(into: dict[bytes, T], digest: bytes, value: T, at_most: int) -> None:
    """Puts a value into a bounded cache; the oldest one is dropped."""
    into.pop(digest, None)
    if len(into) >= at_most:
        del into[next(iter(into))]
    into[digest] = value
