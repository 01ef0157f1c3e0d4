"""Work goes on only while its client is there.

Starlette and uvicorn notice a vanished client when something is sent to it. A model may be silent for long,
so `receive` is watched from before the first token on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeAlias, TypeVar

from starlette.types import Receive

from tessera.http.context import Abort
from tessera.http.errors import ClientGone

T = TypeVar("T")

Beat: TypeAlias = Callable[[], Awaitable[float]]
"""Called now and then beside the work; gives the seconds after which it wants to be called again."""


async def while_present(receive: Receive, work: Coroutine[Any, Any, T], beat: Beat | None = None) -> T:
    """The result of `work`, which is cancelled when the client leaves; a task beside it watches for that.

    Returns or raises only after the work has ended. Raises `ClientGone`, and whatever `work` or `beat` do.
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
            raise  # it is not, or not only, for the client
        watching.result()
        raise ClientGone from None
    finally:
        is_working = False
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


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


async def _departure(receive: Receive, beat: Beat | None) -> None:
    while True:
        try:
            async with asyncio.timeout(await beat() if beat else None):
                while (await receive())["type"] != "http.disconnect":
                    pass
                return
        except TimeoutError:
            continue  # time for a beat
