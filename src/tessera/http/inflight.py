"""How many chat requests are being answered, and whether new ones are taken."""

from types import TracebackType

from tessera.errors import EngineUnavailable


class InFlight:
    """Entered around every chat request; after `drain` new ones are refused."""

    def __init__(self) -> None:
        self.n = 0
        self.draining = False

    def drain(self) -> None:
        """Take no more requests; those that run go on. Safe in a signal handler."""
        self.draining = True

    def __enter__(self) -> None:
        """Count a request in; raises `EngineUnavailable` while draining."""
        if self.draining:
            raise EngineUnavailable(
                "This server is shutting down. Send the request again.", code="draining", retry_after_s=1
            )
        self.n += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count it out."""
        self.n -= 1
