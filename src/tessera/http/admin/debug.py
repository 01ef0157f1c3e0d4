"""What a process is doing now: the requests that it answers, and its asyncio tasks. No content is shown."""

import asyncio
import os
from collections.abc import Collection, Mapping
from types import FrameType
from typing import TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.core.record import RequestRecord, RequestStep
from tessera.errors import EndpointNotFound

Shown: TypeAlias = Mapping[str, str | int | float | None]

_SEVERAL = (
    "Each API process knows its own requests only, and there are several of them. With --workers 1 they are "
    "shown here."
)
_PARENT = "These are the tasks of the parent process; those of the API processes are not shown."

# What a coroutine, an asynchronous generator and a generator call their frame, and what they wait for.
_FRAMES = ("cr_frame", "ag_frame", "gi_frame")
_AWAITED = ("cr_await", "ag_await", "gi_yieldfrom")


def debug_routes(records: Collection[RequestRecord] | None) -> list[Route]:
    """`records` are the requests in flight; None where other processes answer them."""

    async def requests(request: Request) -> Response:
        if records is None:
            raise EndpointNotFound(_SEVERAL)
        return _answer("requests", [_request(record) for record in records])

    async def tasks(request: Request) -> Response:
        note = _PARENT if records is None else None
        return _answer("tasks", [_task(task) for task in asyncio.all_tasks()], note)

    return [Route("/admin/debug/requests", requests), Route("/admin/debug/tasks", tasks)]


def _answer(name: str, rows: list[Shown], note: str | None = None) -> Response:
    noted = {} if note is None else {"note": note}
    body = msgspec.json.encode({"process": os.getpid(), **noted, name: rows})
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")


def _request(record: RequestRecord) -> Shown:
    started_s = record.after_s(RequestStep.STARTED)
    return {
        "request_id": record.request_id,
        "account": record.account,
        "key_id": record.key_id,
        "model": record.asked.model if record.asked else None,
        "step": record.step,
        "age_s": round(record.age_s, 3),
        "waited_s": _rounded(record.whole_s if started_s is None else started_s),
        "prompt_tokens": record.tally.prompt_tokens,
        "completion_tokens": record.tally.completion_tokens,
    }


def _rounded(time_s: float | None) -> float | None:
    return None if time_s is None else round(time_s, 3)


def _task(task: "asyncio.Task[object]") -> Shown:
    coroutine = task.get_coro()
    return {
        "name": task.get_name(),
        "coroutine": getattr(coroutine, "__qualname__", type(coroutine).__name__),
        "waits_at": _place(coroutine),
    }


def _place(awaited: object) -> str | None:
    """Where a task waits: the last frame of ours in its chain of coroutines, each of which awaits the next,
    or the last one of all if none is ours.
    """
    places: list[str] = []
    while frame := _first_of(awaited, _FRAMES):
        assert isinstance(frame, FrameType)
        places.append(f"{frame.f_globals.get('__name__')}:{frame.f_lineno}, {frame.f_code.co_qualname}")
        awaited = _first_of(awaited, _AWAITED)
    ours = [place for place in places if place.startswith("tessera.")]
    return next(iter([*ours[-1:], *places[-1:]]), None)


def _first_of(awaited: object, names: tuple[str, ...]) -> object:
    return next((found for name in names if (found := getattr(awaited, name, None)) is not None), None)
