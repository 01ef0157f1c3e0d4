"""What the parent asks API processes about their requests, over a socket that it shares with each of them.

A question is one frame, and so is its answer, which has the question's number: an answer that comes after the
parent has stopped waiting for it is thrown away.
"""

import asyncio
import logging
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Collection
from itertools import chain, count

import msgspec

from tessera.http.admin.requests import RequestsInFlight, Shown
from tessera.observe.logs import log
from tessera.processes.frames import frame, receive_frame

ANSWER_S = 5.0
"""A process that answers later, because it hangs or is very busy, is left out."""

_logger = logging.getLogger(__name__)


class _Question(msgspec.Struct):
    """Which requests there are or, with an id, which of them were cancelled now."""

    number: int
    cancel: str | None = None


class _Answer(msgspec.Struct):
    number: int
    requests: list[dict[str, str | int | float | None]]


async def answer_questions(own: socket.socket, requests: RequestsInFlight) -> None:
    """Answers the parent until it closes its side."""
    reader, writer = await asyncio.open_unix_connection(sock=own)
    try:
        while True:
            question = msgspec.msgpack.decode(await receive_frame(reader), type=_Question)
            rows = await (requests.show() if question.cancel is None else requests.cancel(question.cancel))
            answer = _Answer(question.number, [dict(row) for row in rows])
            writer.write(frame(msgspec.msgpack.encode(answer)))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


class ControlChannel:
    """The parent's side of the socket of one API process."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = count()
        self._turn = asyncio.Lock()

    @classmethod
    async def open(cls, own: socket.socket) -> "ControlChannel":
        return cls(*await asyncio.open_unix_connection(sock=own))

    async def ask(self, cancel: str | None = None) -> list[Shown]:
        """The requests of that process; none if it does not answer."""
        try:
            async with asyncio.timeout(ANSWER_S), self._turn:
                number = next(self._numbers)
                self._writer.write(frame(msgspec.msgpack.encode(_Question(number, cancel))))
                while True:
                    answer = msgspec.msgpack.decode(await receive_frame(self._reader), type=_Answer)
                    if answer.number == number:
                        return list(answer.requests)
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            log(_logger, "warning", "api process does not show its requests", reason=type(error).__name__)
            return []

    def close(self) -> None:
        self._writer.close()


class RequestsOfProcesses:
    """`RequestsInFlight` of all API processes."""

    def __init__(self, controls: Collection[ControlChannel]) -> None:
        """`controls` are those of the processes that live now."""
        self._controls = controls

    async def show(self) -> list[Shown]:
        return await self._ask(None)

    async def cancel(self, id: str) -> list[Shown]:
        return await self._ask(id)

    async def _ask(self, cancel: str | None) -> list[Shown]:
        answers = await asyncio.gather(*(control.ask(cancel) for control in self._controls))
        return list(chain.from_iterable(answers))
