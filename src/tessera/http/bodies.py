"""Memory budgets for the bodies of requests, so that no account's bodies keep other accounts waiting.

Bytes are reserved before they are received, from the account's budget and from that which accounts of one
priority share. If there are not enough, the body waits unread on its connection; accounts take turns. The
first `SMALL_BYTES` of a body belong to no budget: small requests do not wait for large ones. Bytes are
released when the request has its places at the engine. Those of a refused request (400, 413) stay charged for
a while, since refused requests do not count in an account's rate.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

from tessera.errors import BodyTimeout, EngineOverloaded, RequestError, TooManyBytes
from tessera.http.decoding import Decoding
from tessera.http.limits import HttpLimits
from tessera.observe.metrics import Metrics
from tessera.processes.fair_queue import FairQueue

T = TypeVar("T")

CallLater: TypeAlias = Callable[[float, Callable[[], None]], object]  # as `loop.call_later`

SMALL_BYTES = 64 * 1024
"""About as much as a connection costs by itself."""

MAX_WAITING = 64
"""Waiting bodies of one account; each costs a connection and the part that was received already."""

MAX_BODIES = 1024
"""Bodies of one account that arrive, or whose requests wait for places: each costs a connection."""

REFUSED_BYTES_PER_S = 4 * 2**20
"""The rate at which bytes charged for refused requests become free again."""

REFUSED_AT_LEAST_BYTES = 32 * 1024
"""A refused request counts as so many, however small, for it costs more than its bytes: 128 a second."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The account that a body belongs to."""

    account: str
    priority: int


@dataclass(frozen=True, slots=True, eq=False)
class _Reservation:
    """`n` bytes that a body waits for; `large` of them belong to the budgets."""

    owner: Owner
    n: int
    large: int
    granted: asyncio.Future[None]


class Bodies:
    """The bodies that one event loop receives."""

    def __init__(self, limits: HttpLimits, metrics: Metrics, later: CallLater | None = None) -> None:
        self._limits = limits
        # A body of the largest size must fit.
        self._per_account = max(limits.account_body_bytes, limits.max_body_bytes)
        self._per_priority = max(limits.priority_body_bytes, limits.max_body_bytes)
        self._n_held = 0
        self._held: Counter[str] = Counter()
        self._n_bodies: Counter[str] = Counter()
        self._owed: Counter[str] = Counter()
        self._shared: Counter[int] = Counter()
        self._queue: FairQueue[str, _Reservation] = FairQueue()
        self._bytes = metrics.body_bytes
        self._waiting = metrics.bodies_waiting
        self._later = later
        self.decoding = Decoding(metrics)

    @property
    def n_bytes(self) -> int:
        """Reserved bytes of all accounts, and those charged for refused requests."""
        return self._n_held + self._owed.total()

    @property
    def n_waiting(self) -> int:
        """Bodies that wait for a reservation or to be decoded."""
        return len(self._queue) + self.decoding.n_waiting

    def of(self, account: str, priority: int) -> "RequestBody":
        """The body of one request. Enter it around all the work on the request."""
        return RequestBody(self, Owner(account, priority))

    def begin(self, owner: Owner) -> None:
        """Counts a body that begins to arrive; raises `TooManyBytes`."""
        if self._n_bodies[owner.account] >= MAX_BODIES:
            raise _too_many()
        _add(self._n_bodies, owner.account, 1)

    def end(self, owner: Owner) -> None:
        _add(self._n_bodies, owner.account, -1)

    async def reserve(self, owner: Owner, n: int, large: int) -> None:
        """Reserves bytes, after a wait if need be. Raises `TooManyBytes` or `EngineOverloaded`."""
        wish = _Reservation(owner, n, large, asyncio.get_running_loop().create_future())
        if not large and self._affords(wish):
            self._hold(owner, n, large)
            return
        if self._queue.n_of(owner.account) >= MAX_WAITING:
            raise _too_many()
        self._queue.add(owner.account, wish)
        self._grant()
        try:
            if not wish.granted.done():
                await self._wait(wish)
        except BaseException:
            if wish.granted.done():
                self.give_back(owner, n, large)
            else:
                self._queue.remove(owner.account, wish)
                self._grant()
            raise

    def give_back(self, owner: Owner, n: int, large: int) -> None:
        self._hold(owner, -n, -large)
        self._grant()

    def charge(self, owner: Owner, n: int) -> None:
        """Charges the account for a refused request: its bytes become free again with time."""
        later = self._later or asyncio.get_running_loop().call_later
        self._owe(owner, n)
        later(n / REFUSED_BYTES_PER_S, lambda: self._owe(owner, -n))

    async def _wait(self, wish: _Reservation) -> None:
        try:
            with self._waiting.track_inprogress():
                async with asyncio.timeout(self._limits.body_deadline_s):
                    await asyncio.shield(wish.granted)
        except TimeoutError:
            if not self._affords(wish):
                raise _too_many() from None
            raise EngineOverloaded(
                "Too many large bodies are being received. Send the request again later.", retry_after_s=1
            ) from None

    def _grant(self) -> None:
        while wish := self._next():
            self._queue.take(wish.owner.account, wish)
            self._hold(wish.owner, wish.n, wish.large)
            wish.granted.set_result(None)

    def _next(self) -> _Reservation | None:
        """The next reservation that can be granted. None overtakes one that waits for the same shared
        budget.
        """
        short: set[int] = set()
        for wish in self._queue.first_items(self._held):
            priority = wish.owner.priority
            if not self._affords(wish):
                continue
            is_free = self._shared[priority] + wish.large <= self._per_priority
            if not wish.large or (is_free and priority not in short):
                return wish
            short.add(priority)
        return None

    def _affords(self, wish: _Reservation) -> bool:
        account = wish.owner.account
        taken = self._owed[account] + (self._held[account] if wish.large else 0)
        return taken + (wish.large or wish.n) <= self._per_account

    def _hold(self, owner: Owner, n: int, large: int) -> None:
        self._n_held += n
        self._shared[owner.priority] += large
        _add(self._held, owner.account, large)
        self._bytes.inc(n)

    def _owe(self, owner: Owner, n: int) -> None:
        _add(self._owed, owner.account, n)
        self._bytes.inc(n)
        self._grant()


class RequestBody:
    """One body and the bytes that are reserved for it. Entered around all the work on its request."""

    def __init__(self, bodies: Bodies, owner: Owner) -> None:
        self._bodies = bodies
        self._owner = owner
        self._n = 0
        self._large = 0
        self._n_received = 0
        self._has_begun = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Releases what is still reserved, and charges for a refused request."""
        self.release()
        is_refused = isinstance(error, RequestError) and not isinstance(error, BodyTimeout)
        if is_refused and self._n_received:
            self._bodies.charge(self._owner, max(self._n_received, REFUSED_AT_LEAST_BYTES))

    async def reserve(self, n: int) -> None:
        """Reserves `n` bytes in all, after a wait if need be."""
        if not self._has_begun:
            self._bodies.begin(self._owner)
            self._has_begun = True
        more = n - self._n
        large = max(0, n - SMALL_BYTES) - self._large
        if more > 0:
            await self._bodies.reserve(self._owner, more, large)
            self._n += more
            self._large += large
            self._n_received = self._n

    async def decode(self, body: bytes, decode: Callable[[bytes], T]) -> T:
        """The result of `decode`, when it is the account's turn."""
        self._n_received = len(body)
        return await self._bodies.decoding.decode(self._owner.account, body, decode)

    def release(self) -> None:
        """Releases the bytes, before the request ends."""
        if self._n:
            self._bodies.give_back(self._owner, self._n, self._large)
            self._n = 0
            self._large = 0
        if self._has_begun:
            self._bodies.end(self._owner)
            self._has_begun = False


def _add(to: Counter[str], account: str, n: int) -> None:
    """Adds to an account's count; a count of zero is dropped."""
    to[account] += n
    if not to[account]:
        del to[account]


def _too_many() -> TooManyBytes:
    return TooManyBytes(
        "Your account sends too many bodies at once, or too large ones, or sent too many that were refused. "
        "Wait until some have been read.",
        retry_after_s=1,
    )
