"""What a process is doing now: its asyncio tasks, and where each of them waits."""

import asyncio
import os
from types import FrameType

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_PARENT = "These are the tasks of the parent process; those of the API processes are not shown."

# What a coroutine, an asynchronous generator and a generator call their frame, and what they wait for.
_FRAMES = ("cr_frame", "ag_frame", "gi_frame")
_AWAITED = ("cr_await", "ag_await", "gi_yieldfrom")


def debug_routes(*, answers_requests: bool) -> list[Route]:
    """`answers_requests` says that this process does, and not others."""

    async def tasks(request: Request) -> Response:
        shown: dict[str, object] = {"process": os.getpid()}
        if not answers_requests:
            shown["note"] = _PARENT
        shown["tasks"] = [_task(task) for task in asyncio.all_tasks()]
        body = msgspec.json.encode(shown)
        return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")

    return [Route("/admin/debug/tasks", tasks)]


def _task(task: "asyncio.Task[object]") -> dict[str, str | None]:
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
