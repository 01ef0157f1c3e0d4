import asyncio

import pytest

from tessera.core.chat import ChatRequest
from tessera.core.record import RequestRecord
from tessera.errors import EngineUnavailable, InvalidApiKey, RequestCancelled
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


def asked(request_id: str, reply_id: str) -> RequestRecord:
    made = RequestRecord(request_id, "acc_1", "key_1")
    made.ask(ChatRequest(()), reply_id=reply_id, model="m", streamed=True)
    return made


@pytest.mark.anyio
@pytest.mark.parametrize("cancelled", ["before its deadline", "between its waits", "while it waits"])
async def test_a_request_is_cancelled_wherever_it_is(cancelled: str) -> None:
    in_flight, other = InFlight(), asked("req_2", "chatcmpl-2")
    with in_flight.hold(record()), in_flight.hold(other):
        one = next(each for each in in_flight.records if each is not other)
        if cancelled == "before its deadline":
            assert in_flight.cancel("req_1") == [one]
        deadline, untouched = in_flight.deadline(60, one), in_flight.deadline(60, other)
        if cancelled == "between its waits":
            assert in_flight.cancel("req_1") == [one]

        async def wait() -> None:
            async with deadline:
                if cancelled == "while it waits":
                    assert in_flight.cancel("req_1") == [one]
                await asyncio.sleep(60)

        with pytest.raises(RequestCancelled):
            await wait()
        async with untouched:
            await asyncio.sleep(0)


def test_clients_choose_their_request_ids_and_the_id_of_a_reply_names_one() -> None:
    in_flight = InFlight()
    first, second = asked("same", "chatcmpl-1"), asked("same", "chatcmpl-2")
    with in_flight.hold(first), in_flight.hold(second):
        assert in_flight.cancel("chatcmpl-2") == [second]
        assert in_flight.cancel("same") == [first, second]
        assert in_flight.cancel("chatcmpl-3") == []
    assert in_flight.cancel("same") == []
