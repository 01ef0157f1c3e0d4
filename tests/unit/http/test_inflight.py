import asyncio

import pytest

from tessera.errors import EngineUnavailable
from tessera.http.inflight import InFlight


def test_in_flight_counts_and_drains() -> None:
    in_flight = InFlight()
    with in_flight:
        assert in_flight.n == 1
        in_flight.drain()
        with pytest.raises(EngineUnavailable) as caught, in_flight:
            pass
    assert in_flight.n == 0
    assert caught.value.code == "draining"


def test_leaving_still_takes_requests() -> None:
    in_flight = InFlight()
    in_flight.leave()
    with in_flight:
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
