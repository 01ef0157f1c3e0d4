"""A reply is delivered while its client is there and reads."""

import asyncio
from typing import Any

import pytest
from tests.limits import http_limits

from tessera.http.delivery import EventStream, while_present
from tessera.http.errors import ClientGone

pytestmark = pytest.mark.anyio


class Client:
    """A client that sends nothing. It disconnects when the test sets `left`."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}


class Work:
    """A task that runs until the test ends it, and records how it ended."""

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


class Wire:
    """Keeps what is sent. A slow one never accepts a body."""

    def __init__(self, slow: bool = False) -> None:
        self.sent: list[Any] = []
        self.slow = slow

    async def send(self, message: Any) -> None:
        if self.slow and message["type"] == "http.response.body":
            await asyncio.Event().wait()
        self.sent.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent if message["type"] == "http.response.body"]


def stream(wire: Wire, keep_alive_s: float = 100, send_deadline_s: float = 100) -> EventStream:
    limits = http_limits(keep_alive_s=keep_alive_s, send_deadline_s=send_deadline_s)
    return EventStream(wire.send, limits, [(b"x-more", b"1")])


async def test_headers_go_with_the_first_frames() -> None:
    wire = Wire()
    events = stream(wire)
    assert wire.sent == []
    await events.write(b"a")
    await events.write(b"b", more=False)
    start, *bodies = wire.sent
    assert start["status"] == 200
    assert dict(start["headers"]) == {
        b"content-type": b"text/event-stream; charset=utf-8",
        b"cache-control": b"no-cache",
        b"x-accel-buffering": b"no",
        b"x-more": b"1",
    }
    assert [(body["body"], body["more_body"]) for body in bodies] == [(b"a", True), (b"b", False)]


async def test_what_is_written_at_once_breaks_the_silence() -> None:
    wire, written, ready = Wire(), list[bytes](), False

    def write_now(frames: bytes) -> bool:
        if ready:
            written.append(frames)
        return ready

    events = EventStream(wire.send, http_limits(keep_alive_s=0.5), [], write_now=write_now)
    assert not events.write_now(b"a")
    await asyncio.sleep(0.51)
    ready = True
    assert events.write_now(b"a")
    assert await events.beat() > 0
    assert (wire.sent, written) == ([], [b"a"])
    assert not stream(wire).write_now(b"a")


async def test_silence_is_broken_by_a_comment_that_brings_the_headers() -> None:
    wire = Wire()
    events = stream(wire, keep_alive_s=0)
    assert not events.started
    await events.beat()
    assert events.started
    await events.write(b"a")
    await events.beat()
    assert wire.bodies == [b": keep-alive\n", b"a", b": keep-alive\n"]


async def test_no_comment_before_the_silence_is_long_enough() -> None:
    wire = Wire()
    assert 99 < await stream(wire, keep_alive_s=100).beat() <= 100
    assert wire.sent == []


async def test_a_client_that_does_not_read_is_given_up() -> None:
    events = stream(Wire(slow=True), keep_alive_s=0, send_deadline_s=0.5)
    writing = asyncio.create_task(events.write(b"a"))
    await asyncio.sleep(0)
    assert 0 < await events.beat() <= 0.5
    await asyncio.sleep(0.51)
    with pytest.raises(ClientGone):
        await events.beat()
    writing.cancel()


async def test_a_comment_that_is_not_read_is_given_up_too() -> None:
    with pytest.raises(ClientGone):
        await stream(Wire(slow=True), keep_alive_s=0, send_deadline_s=0.5).beat()
