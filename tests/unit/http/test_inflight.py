import asyncio

import pytest

from tessera.core.record import RequestRecord
from tessera.errors import EngineUnavailable, InvalidApiKey
from tessera.http.inflight import InFlight


def record() -> RequestRecord:
    return RequestRecord("req_1", "acc_1", "key_1")


def test_in_flight_counts_and_drains() -> None:
    in_flight = InFlight()
    with in_flight.hold(record()):
        assert in_flight.n == 1
        in_flight.drain()
        with pytest.raises(EngineUnavailable) as caught, in_flight.hold(record()):
            pass
    assert in_flight.n == 0
    assert caught.value.code == "draining"


def test_leaving_still_takes_requests() -> None:
    in_flight = InFlight()
    in_flight.leave()
    with in_flight.hold(record()):
        assert (in_flight.leaving, in_flight.draining) == (True, False)


@pytest.mark.anyio
async def test_all_that_wait_are_ended_and_that_twice() -> None:
    in_flight = InFlight()

    async def wait() -> None:
        async with in_flight.deadline(60):
            await asyncio.sleep(60)

    waiting = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    in_flight.end()
    await asyncio.sleep(0)
    in_flight.end()  # while the first time is still taking effect
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert [getattr(end, "code", end) for end in ends] == ["draining"] * 3


@pytest.mark.anyio
@pytest.mark.parametrize("is_entered", [False, True])
async def test_a_request_that_is_ended_raises_why_now_or_when_it_waits_next(is_entered: bool) -> None:
    in_flight, why = InFlight(), InvalidApiKey("revoked")
    deadline = in_flight.deadline(60)

    async def wait() -> None:
        async with deadline:
            await asyncio.sleep(60)

    if not is_entered:
        async with deadline:
            pass
        deadline.end(why)
    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    deadline.end(why)
    in_flight.end()  # comes too late
    with pytest.raises(InvalidApiKey):
        await waiting
