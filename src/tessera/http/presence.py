"""Work goes on only while its client is there.

Starlette and uvicorn notice a vanished client when something is sent to it. A model may be silent for long,
so `receive` is watched from before the first token on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeAlias, TypeVar

from starlette.types import Receive

from tessera.http.errors import ClientGone

T = TypeVar("T")

Beat: TypeAlias = Callable[[], Awaitable[float]]
"""Called now and then beside the work; gives the seconds after which it wants to be called again."""

Abort: TypeAlias = Callable[[], None]
"""Cuts a connection at once; servers that offer it put it into `scope["state"]["abort"]`."""


async def while_present(receive: Receive, work: Coroutine[Any, Any, T], beat: Beat | None = None) -> T:
    """The result of `work`, which runs in one task of its own and is cancelled when the client leaves.

    Returns or raises only after that task has ended. Raises `ClientGone`, and whatever `work` or `beat` do.
    """
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_departure(receive))
    try:
        while not working.done() and not leaving.done():
            pause_s = await beat() if beat else None
            await asyncio.wait((working, leaving), timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
    if working.cancelled():
        raise ClientGone
    return working.result()


async def send_within(deadline_s: float, sending: Awaitable[None], abort: Abort | None) -> None:
    """Await `sending`, but not for ever on a client that does not read: that one is cut off, `ClientGone`."""
    try:
        async with asyncio.timeout(deadline_s):
            await sending
    except TimeoutError:
        give_up(abort)


def give_up(abort: Abort | None) -> NoReturn:
    """Cut the connection off."""
    if abort is not None:
        abort()
    raise ClientGone


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
