"""The requests in flight, of all API processes: which there are, and how one of them is cancelled."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.core.record import RequestRecord, RequestStep
from tessera.errors import NotThere, StoreUnavailable
from tessera.http.context import client_address
from tessera.http.inflight import InFlight
from tessera.observe.logs import log
from tessera.store.failures import reason_of

_logger = logging.getLogger(__name__)

Shown: TypeAlias = Mapping[str, str | int | float | None]

Record: TypeAlias = Callable[[Sequence[Shown], str], None]
"""Records which requests were cancelled, and by whom. Blocks; raises `StoreUnavailable`."""


class RequestsInFlight(Protocol):
    """The requests of all API processes, without any content."""

    async def show(self) -> list[Shown]:
        """A row for each, in no particular order."""
        ...

    async def cancel(self, id: str) -> list[Shown]:
        """Ends those of this id or request id with an error, and returns them as they were."""
        ...


class OwnRequests:
    """Those of this process alone, for a server that has no other."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight

    async def show(self) -> list[Shown]:
        return [_row(record) for record in self._in_flight.records]

    async def cancel(self, id: str) -> list[Shown]:
        return [_row(record) for record in self._in_flight.cancel(id)]


def request_routes(requests: RequestsInFlight, record: Record | None = None) -> list[Route]:
    """The routes of the admin API that show and cancel requests. Without a store there is no `record`."""

    async def show(request: Request) -> Response:
        return _answer(await requests.show())

    async def cancel(request: Request) -> Response:
        id = str(request.path_params["id"])
        ended = await requests.cancel(id)
        if not ended:
            raise NotThere("No such request is running: list them.", code="request_not_found")
        by = f"admin:{client_address(request.scope)}"
        for row in ended:
            log(_logger, "info", "request cancelled", trace_id=row["request_id"], id=row["id"], by=by)
        if record:
            await _recorded(record, ended, by)
        return _answer(ended)

    return [
        Route("/admin/requests", show),
        Route("/admin/requests/{id}/cancel", cancel, methods=["POST"]),
        Route("/admin/debug/requests", show),  # its first name
    ]


async def _recorded(record: Record, ended: Sequence[Shown], by: str) -> None:
    try:
        await asyncio.to_thread(record, ended, by)
    except StoreUnavailable as error:  # the requests have ended all the same
        log(_logger, "error", "cancellation not recorded in the audit", by=by, reason=reason_of(error))


def _answer(rows: list[Shown]) -> Response:
    body = msgspec.json.encode({"process": os.getpid(), "requests": rows})
    return Response(body, headers={"Cache-Control": "no-store"}, media_type="application/json")


def _row(record: RequestRecord) -> Shown:
    asked, started_s = record.asked, record.after_s(RequestStep.STARTED)
    return {
        "id": asked.reply_id if asked else None,
        "request_id": record.request_id,
        "account": record.account,
        "key_id": record.key_id,
        "client": record.client,
        "model": asked.model if asked else None,
        "step": record.step,
        "age_s": round(record.age_s, 3),
        "waited_s": _rounded(record.whole_s if started_s is None else started_s),
        "prompt_tokens": record.tally.prompt_tokens,
        "completion_tokens": record.tally.completion_tokens,
    }


def _rounded(time_s: float | None) -> float | None:
    return None if time_s is None else round(time_s, 3)
