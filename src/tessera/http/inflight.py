"""How many chat requests are being answered, whether new ones are taken, and when the rest must end."""

import asyncio
from types import TracebackType

from tessera.errors import EngineTimeout, EngineUnavailable, TesseraError


class InFlight:
    """Entered around every chat request; after `drain` new ones are refused, after `end` none goes on."""

    def __init__(self) -> None:
        self.n = 0
        self.leaving = self.draining = False
        self._deadlines: set[Deadline] = set()

    def leave(self) -> None:
        """Say that the service is about to end (`/readyz`), and go on as before."""
        self.leaving = True

    def drain(self) -> None:
        """Take no more requests; those that run go on. Safe in a signal handler."""
        self.leaving = self.draining = True

    def end(self) -> None:
        """End the replies that are being made, each with an error."""
        for deadline in self._deadlines:
            deadline.end(_shutting_down())

    def deadline(self, within_s: float) -> "Deadline":
        """For one request: from now on, or until the service ends it."""
        return Deadline(within_s, self._deadlines)

    def __enter__(self) -> None:
        """Count a request in; raises `EngineUnavailable` while draining."""
        if self.draining:
            raise _shutting_down()
        self.n += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count it out."""
        self.n -= 1


class Deadline:
    """Entered around what a request waits for: raises `EngineTimeout` in it when the request's time is up, or
    the error that it is ended with before. May be entered again.
    """

    def __init__(self, within_s: float, entered: "set[Deadline]") -> None:
        """The time runs from now; it is one of `entered` while it is entered."""
        self._within_s = within_s
        self._at_s = asyncio.get_running_loop().time() + within_s
        self._entered = entered
        self._timeout: asyncio.Timeout | None = None
        self._error: TesseraError | None = None

    def end(self, error: TesseraError) -> None:
        """The time is up now, for this reason; the first one counts."""
        if self._error is not None or (self._timeout and self._timeout.expired()):
            return
        self._error = error
        if self._timeout:
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def __aenter__(self) -> None:
        """Begin."""
        at_s = asyncio.get_running_loop().time() if self._error else self._at_s
        self._timeout = asyncio.timeout_at(at_s)
        await self._timeout.__aenter__()
        self._entered.add(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and say why if it was too late."""
        timeout, self._timeout = self._timeout, None
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


def _shutting_down() -> EngineUnavailable:
    return EngineUnavailable(
        "This server is shutting down. Send the request again.", code="draining", retry_after_s=1
    )
