"""Memory budgets for the bodies of requests, so that no account's bodies keep other accounts waiting.

Bytes are reserved before they are received, from the account's budget and from that which accounts of one
priority share. If there are not enough, the body waits unread on its connection; accounts take turns. The
first `SMALL_BYTES` of a body belong to no budget: small requests do not wait for large ones. Bytes are
released when the request has its places at the engine. Those of a refused request (400, 413) stay charged for
a while, since refused requests do not count in an account's rate.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

from tessera.errors import BodyTimeout, EngineOverloaded, RequestError, TooManyBytes
from tessera.http.body import Decoding
from tessera.http.limits import HttpLimits
from tessera.observe.metrics import Metrics
from tessera.processes.sharing import FairQueue

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


@dataclass(slots=True, eq=False)
class RequestBody:
    """One body: `n` bytes are reserved for it, `large` of them in the budgets. A refusal of its request is
    charged with `n_received` bytes.
    """

    account: str
    priority: int
    n: int = 0
    large: int = 0
    n_received: int = 0
    is_counted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Reservation:
    """`n` bytes that a body needs; `large` of them belong to the budgets."""

    body: RequestBody
    n: int
    large: int
    granted: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


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

    @contextmanager
    def of(self, account: str, priority: int) -> Generator[RequestBody]:
        """The body of one request, entered around all the work on it. What is still reserved is released in
        the end; a refused request is charged.
        """
        body = RequestBody(account, priority)
        try:
            yield body
        except RequestError as error:
            if body.n_received and not isinstance(error, BodyTimeout):
                self._charge(account, max(body.n_received, REFUSED_AT_LEAST_BYTES))
            raise
        finally:
            self.release(body)

    async def reserve(self, body: RequestBody, n: int) -> None:
        """Reserves `n` bytes in all, after a wait if need be. Raises `TooManyBytes` or `EngineOverloaded`."""
        if not body.is_counted:
            if self._n_bodies[body.account] >= MAX_BODIES:
                raise _too_many()
            _add(self._n_bodies, body.account, 1)
            body.is_counted = True
        reservation = _Reservation(body, n - body.n, max(0, n - SMALL_BYTES) - body.large)
        if not reservation.large and self._affords(reservation):
            self._hold(body, reservation.n, 0)
        elif reservation.n > 0:
            await self._wait(reservation)
        body.n_received = body.n

    def release(self, body: RequestBody) -> None:
        """Releases what is reserved, before the request ends."""
        self._hold(body, -body.n, -body.large)
        if body.is_counted:
            _add(self._n_bodies, body.account, -1)
            body.is_counted = False
        if self._queue:
            self._grant()

    def _charge(self, account: str, n: int) -> None:
        """Charges the account for a refused request: its bytes become free again with time."""
        later = self._later or asyncio.get_running_loop().call_later
        self._owe(account, n)
        later(n / REFUSED_BYTES_PER_S, lambda: self._owe(account, -n))

    def _owe(self, account: str, n: int) -> None:
        _add(self._owed, account, n)
        self._bytes.inc(n)
        self._grant()

    async def _wait(self, reservation: _Reservation) -> None:
        account = reservation.body.account
        if self._queue.n_of(account) >= MAX_WAITING:
            raise _too_many()
        self._queue.add(account, reservation)
        self._grant()
        if reservation.granted.done():
            return
        try:
            with self._waiting.track_inprogress():
                async with asyncio.timeout(self._limits.body_deadline_s):
                    await asyncio.shield(reservation.granted)
        except TimeoutError:
            if not self._affords(reservation):
                raise _too_many() from None
            raise EngineOverloaded(
                "Too many large bodies are being received. Send the request again later.", retry_after_s=1
            ) from None
        finally:
            if not reservation.granted.done():
                self._queue.remove(account, reservation)
                self._grant()

    def _grant(self) -> None:
        while reservation := self._next():
            self._queue.take(reservation.body.account, reservation)
            self._hold(reservation.body, reservation.n, reservation.large)
            reservation.granted.set_result(None)

    def _next(self) -> _Reservation | None:
        """The next reservation that can be granted. None overtakes one that waits for the same shared
        budget.
        """
        short: set[int] = set()
        for reservation in self._queue.first_items(self._held):
            priority = reservation.body.priority
            if not self._affords(reservation):
                continue
            is_free = self._shared[priority] + reservation.large <= self._per_priority
            if not reservation.large or (is_free and priority not in short):
                return reservation
            short.add(priority)
        return None

    def _affords(self, reservation: _Reservation) -> bool:
        account = reservation.body.account
        taken = self._owed[account] + (self._held[account] if reservation.large else 0)
        return taken + (reservation.large or reservation.n) <= self._per_account

    def _hold(self, body: RequestBody, n: int, large: int) -> None:
        body.n += n
        body.large += large
        self._n_held += n
        self._shared[body.priority] += large
        _add(self._held, body.account, large)
        self._bytes.inc(n)


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
