"""Cancels work when its client disconnects.

Starlette and uvicorn notice that only when something is sent. A model may take long to its first token, so
`receive` is watched from the beginning.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeAlias, TypeVar

from starlette.types import Receive

from tessera.http.context import Abort
from tessera.http.errors import ClientGone

T = TypeVar("T")

Beat: TypeAlias = Callable[[], Awaitable[float]]
"""Called beside the work; returns the seconds after which it is to be called again."""


async def while_present(receive: Receive, work: Coroutine[Any, Any, T], beat: Beat | None = None) -> T:
    """The result of `work`, which is cancelled when the client disconnects: a task beside it watches for
    that.

    Returns or raises only after the work has ended. Raises `ClientGone`, and what `work` or `beat` raise.
    """
    task = asyncio.current_task()
    assert task is not None
    watching = asyncio.create_task(_departure(receive, beat))
    is_working = True
    watching.add_done_callback(lambda _: is_working and task.cancel())
    try:
        return await work
    except asyncio.CancelledError:
        if not watching.done() or task.uncancel():
            raise  # cancelled by somebody else, or by somebody else too
        watching.result()
        raise ClientGone from None
    finally:
        is_working = False
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def send_within(deadline_s: float, sending: Awaitable[None], abort: Abort | None) -> None:
    """Awaits `sending`. Disconnects a client that does not read for `deadline_s`, and raises `ClientGone`."""
    try:
        async with asyncio.timeout(deadline_s):
            await sending
    except TimeoutError:
        give_up(abort)


def give_up(abort: Abort | None) -> NoReturn:
    """Disconnects the client, and raises `ClientGone`."""
    if abort is not None:
        abort()
    raise ClientGone


async def _departure(receive: Receive, beat: Beat | None) -> None:
    while True:
        try:
            async with asyncio.timeout(await beat() if beat else None):
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
        except TimeoutError:
            continue  # time for a beat
