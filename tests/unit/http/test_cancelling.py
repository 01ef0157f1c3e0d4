"""A request is cancelled whether or not that can be recorded."""

import logging
from collections.abc import Sequence

import httpx2
import pytest

from tessera.core.record import RequestRecord
from tessera.errors import StoreUnavailable
from tessera.http.admin.app import admin_app
from tessera.http.admin.requests import OwnRequests, Record, Shown, request_routes
from tessera.http.inflight import InFlight

pytestmark = pytest.mark.anyio

KEY = "admin-" + "k" * 40


async def cancelled(record: Record | None) -> int:
    in_flight = InFlight()
    app = admin_app(bytes, KEY, request_routes(OwnRequests(in_flight), record))
    with in_flight.hold(RequestRecord("req_1", "acc_1", "key_1")):
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://admin",
            headers={"Authorization": f"Bearer {KEY}"},
        ) as client:
            answer = await client.post("/admin/requests/req_1/cancel")
    return answer.status_code


async def test_it_is_recorded() -> None:
    recorded: list[tuple[str, object]] = []

    def record(ended: Sequence[Shown], by: str) -> None:
        recorded.extend((by, row["account"]) for row in ended)

    assert await cancelled(record) == 200
    assert recorded == [("admin:127.0.0.1", "acc_1")]


@pytest.mark.parametrize("reason", ["No space left on device", None])
async def test_a_store_that_is_away_is_logged(reason: str | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)

    def record(ended: Sequence[Shown], by: str) -> None:
        failure = StoreUnavailable("away")
        failure.reason = reason
        raise failure

    assert await cancelled(record) == 200
    assert "cancellation not recorded in the audit" in caplog.messages


async def test_without_a_store_nothing_is_recorded() -> None:
    assert await cancelled(None) == 200
