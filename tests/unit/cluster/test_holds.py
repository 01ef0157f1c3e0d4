import asyncio

import pytest
from tests.waiting import until

from tessera.cluster.holds import Holds

pytestmark = pytest.mark.anyio


async def test_a_hold_lasts_as_long_as_its_request() -> None:
    holds = Holds()
    with holds.announced() as hold:
        waiting = asyncio.create_task(hold.until_ended())
        with holds.answering(hold.id):
            await asyncio.sleep(0)
            assert holds.n == 1
            assert not waiting.done()
        await waiting
    assert holds.n == 0


async def test_a_request_that_never_arrives_is_given_up() -> None:
    holds = Holds(arrival_s=0.0)
    with holds.announced() as hold:
        await hold.until_ended()


async def test_a_request_that_has_ended_before_the_wait_ends_it() -> None:
    holds = Holds(arrival_s=0.0)
    with holds.announced() as hold:
        with holds.answering(hold.id):
            pass
        await hold.until_ended()


async def test_an_unknown_request_is_answered_too() -> None:
    holds = Holds()
    with holds.answering("unknown"):
        await until(lambda: holds.n == 0)
