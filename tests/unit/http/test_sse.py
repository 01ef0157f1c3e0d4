import asyncio
from typing import Any

import pytest

from tessera.http.errors import ClientGone
from tessera.http.limits import HttpLimits
from tessera.http.sse import EventStream

pytestmark = pytest.mark.anyio


class Wire:
    """Keeps what was sent; a slow one never takes a body."""

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
    limits = HttpLimits(keep_alive_s=keep_alive_s, send_deadline_s=send_deadline_s)
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

    events = EventStream(wire.send, HttpLimits(keep_alive_s=0.5), [], write_now=write_now)
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
        await stream(Wire(slow=True), keep_alive_s=0, send_deadline_s=0.01).beat()
