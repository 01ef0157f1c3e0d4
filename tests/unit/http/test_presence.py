import asyncio
from typing import Any

import pytest

from tessera.http.errors import ClientGone
from tessera.http.presence import while_present

pytestmark = pytest.mark.anyio


class Client:
    """Sends nothing and leaves when told."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}


class Work:
    """Runs until it is told to end; knows how it ended."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.ended = False

    async def run(self, error: Exception | None = None) -> str:
        try:
            await self.go.wait()
            if error:
                raise error
            return "done"
        finally:
            await asyncio.sleep(0)
            self.ended = True


async def test_the_result_of_the_work() -> None:
    work = Work()
    work.go.set()
    assert await while_present(Client().receive, work.run()) == "done"


async def test_an_error_of_the_work_is_raised_bare() -> None:
    work = Work()
    work.go.set()
    with pytest.raises(ValueError, match="boom"):
        await while_present(Client().receive, work.run(ValueError("boom")))


async def test_work_is_over_when_the_departure_is_reported() -> None:
    work, client = Work(), Client()
    asyncio.get_running_loop().call_later(0, client.left.set)
    with pytest.raises(ClientGone):
        await while_present(client.receive, work.run())
    assert work.ended


async def test_more_of_the_request_is_no_departure() -> None:
    work, messages = Work(), [{"type": "http.request"}, {"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    with pytest.raises(ClientGone):
        await while_present(receive, work.run())
    assert messages == []


async def test_work_is_over_when_the_caller_is_cancelled() -> None:
    work = Work()
    task = asyncio.create_task(while_present(Client().receive, work.run()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.ended


async def test_the_beat_is_called_when_it_asked_to_be() -> None:
    work, beats = Work(), 0

    async def beat() -> float:
        nonlocal beats
        beats += 1
        if beats == 3:
            work.go.set()
        return 0.001

    assert await while_present(Client().receive, work.run(), beat) == "done"
    assert beats >= 3


async def test_an_error_of_the_beat_ends_the_work() -> None:
    work = Work()

    async def beat() -> float:
        await asyncio.sleep(0)
        raise ClientGone

    with pytest.raises(ClientGone):
        await while_present(Client().receive, work.run(), beat)
    assert work.ended


async def test_no_task_is_left_behind() -> None:
    before = asyncio.all_tasks()
    work, client = Work(), Client()
    client.left.set()
    with pytest.raises(ClientGone):
        await while_present(client.receive, work.run())
    assert asyncio.all_tasks() == before
