"""A timer of a connection."""

import asyncio
from collections.abc import Callable


class Timer:
    """Calls a function after some seconds, unless it is cancelled before."""

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Also once it has called the function."""
        return self._handle is not None

    def set(self, after_s: float, call: Callable[[], None]) -> None:
        """Does nothing if it is set."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(after_s, call)

    def cancel(self) -> None:
        """It can be set again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
