"""The chat requests that are in flight, whether new ones are taken, and when the rest must end."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType

from tessera.core.record import RequestRecord
from tessera.errors import EngineTimeout, EngineUnavailable, RequestCancelled, TesseraError


class InFlight:
    """The chat requests of one process. After `drain` new ones are refused, after `end` none goes on."""

    def __init__(self) -> None:
        self.records: dict[RequestRecord, Deadline | None] = {}
        self.leaving = False
        self.draining = False
        self._deadlines: set[Deadline] = set()
        self._cancelled: set[RequestRecord] = set()

    @property
    def n(self) -> int:
        return len(self.records)

    @contextmanager
    def hold(self, record: RequestRecord) -> Generator[None]:
        """Entered around a request; raises `EngineUnavailable` while draining."""
        if self.draining:
            raise _shutting_down()
        self.records[record] = None
        try:
            yield
        finally:
            del self.records[record]
            self._cancelled.discard(record)

    def leave(self) -> None:
        """`/readyz` says from now on that the service is about to end; nothing else changes."""
        self.leaving = True

    def drain(self) -> None:
        """Takes no more requests; those that run go on. Safe in a signal handler."""
        self.leaving = True
        self.draining = True

    def end(self) -> None:
        """Ends the replies that are being made, each with an error."""
        for deadline in self._deadlines:
            deadline.end(_shutting_down())

    def cancel(self, id: str) -> list[RequestRecord]:
        """Ends the requests of this reply id, or of this request id, which clients choose, with an error.
        Returns them.
        """
        found = [
            record
            for record in self.records
            if id == record.request_id or (record.asked is not None and id == record.asked.reply_id)
        ]
        for record in found:
            self._cancelled.add(record)
            if deadline := self.records[record]:
                deadline.end(_cancelled())
        return found

    def deadline(self, within_s: float, record: RequestRecord | None = None) -> "Deadline":
        """The deadline of one request, `within_s` from now. With a `record` that is held, `cancel` ends the
        request by it.
        """
        made = Deadline(within_s, self._deadlines)
        if record is not None:
            self.records[record] = made
            if record in self._cancelled:  # while its body was received
                made.end(_cancelled())
        return made


class Deadline:
    """Entered around each wait of a request. Raises `EngineTimeout` there when the request's time is up, or
    the error that `end` was called with.
    """

    def __init__(self, within_s: float, entered: "set[Deadline]") -> None:
        """`entered` are those of all requests that wait now."""
        self._within_s = within_s
        self._at_s = asyncio.get_running_loop().time() + within_s
        self._entered = entered
        self._timeout: asyncio.Timeout | None = None
        self._error: TesseraError | None = None

    def end(self, error: TesseraError) -> None:
        """Ends the wait with `error`, or the next wait. The first error counts."""
        if self._error is not None or (self._timeout and self._timeout.expired()):
            return
        self._error = error
        if self._timeout:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> None:
        at_s = asyncio.get_running_loop().time() if self._error else self._at_s
        self._timeout = asyncio.timeout_at(at_s)
        await self._timeout.__aenter__()
        self._entered.add(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        timeout = self._timeout
        self._timeout = None
        self._entered.discard(self)
        assert timeout is not None, "entered"
        try:
            await timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise self._error or self._too_late() from None

    def _too_late(self) -> EngineTimeout:
        return EngineTimeout(
            f"The reply was not finished within {self._within_s:g} s. Ask for less: max_completion_tokens."
        )


def _cancelled() -> RequestCancelled:
    return RequestCancelled("The operator of this server has cancelled the request.")


def _shutting_down() -> EngineUnavailable:
    return EngineUnavailable(
        "This server is shutting down. Send the request again.", code="draining", retry_after_s=1
    )
