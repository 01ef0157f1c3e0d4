import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from tests.waiting import until

from tessera.errors import EngineUnavailable
from tessera.processes import supervision
from tessera.processes.supervision import HEALTHY_S, MOST_RESTARTS, WITHIN_S, Pauses, ProcessExit, supervise

pytestmark = pytest.mark.anyio


class Mortal:
    """A process that lives for so many seconds of a clock of its own. With None it never becomes ready."""

    def __init__(self, *lives_s: float | None) -> None:
        self.lives_s = list(lives_s)
        self.pauses_s: list[float] = []
        self.now_s = 0.0

    async def live(self, ready: Callable[[], None]) -> ProcessExit:
        if not self.lives_s:
            await asyncio.Event().wait()
        ready_s = self.lives_s.pop(0)
        if ready_s is not None:
            ready()
        self.now_s += ready_s or 0.0
        return ProcessExit("fell", ready_s)

    async def sleep(self, delay_s: float) -> None:
        self.pauses_s.append(delay_s)
        self.now_s += delay_s


@pytest.fixture
def mortal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Mortal]:
    def make(*lives_s: float | None) -> Mortal:
        engine = Mortal(*lives_s)
        monkeypatch.setattr(supervision, "time", SimpleNamespace(monotonic=lambda: engine.now_s))
        monkeypatch.setattr(supervision, "asyncio", SimpleNamespace(sleep=engine.sleep))
        return engine

    return make


async def outcome(engine: Mortal) -> tuple[int, str]:
    """The number of calls of `started`, and the last error."""
    calls: list[None] = []
    with pytest.raises(EngineUnavailable) as given_up:
        await supervise(engine.live, lambda: calls.append(None), model="m")
    return len(calls), given_up.value.message


async def test_pauses_double_up_to_a_bound_and_begin_anew_after_a_long_life() -> None:
    pauses = Pauses(3.0)
    lives_s = [1.0, HEALTHY_S, 0.0, 1.0, 1.0, HEALTHY_S + 1, 1.0]
    assert [pauses.after(lived_s) for lived_s in lives_s] == [0.5, 1.0, 2.0, 3.0, 3.0, 0.5, 1.0]


async def test_a_first_life_that_never_begins_is_an_error(mortal: Callable[..., Mortal]) -> None:
    engine = mortal(None)
    assert await outcome(engine) == (0, "The engine did not start: it fell.")
    assert engine.pauses_s == []


async def test_pauses_grow_and_restarts_are_exhausted(mortal: Callable[..., Mortal]) -> None:
    engine = mortal(*[1.0, None, None, 1.0, 1.0, None, 1.0])
    n_started, message = await outcome(engine)
    assert n_started == 1
    assert f"after {MOST_RESTARTS} restarts" in message
    assert engine.pauses_s == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert engine.lives_s == [1.0], "it is not started once more"


async def test_a_pause_has_a_bound_and_is_short_again_after_a_healthy_life(
    mortal: Callable[..., Mortal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "MOST_RESTARTS", 9)
    await outcome(engine := mortal(*[1.0] * 8, HEALTHY_S + 1, 1.0))
    assert engine.pauses_s == [0.5, 1, 2, 4, 8, 16, 30, 30, 0.5]


async def test_restarts_of_long_ago_do_not_count(
    mortal: Callable[..., Mortal], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tessera")
    rare = WITHIN_S / MOST_RESTARTS
    engine = mortal(*[rare] * 20, *[1.0] * MOST_RESTARTS)
    await outcome(engine)
    assert len(engine.pauses_s) >= 20
    events = [record.getMessage() for record in caplog.records]
    assert events.count("engine restarted") == events.count("engine died") == len(engine.pauses_s)


async def test_an_engine_beside_others_is_restarted_for_as_long_as_they_run(
    mortal: Callable[..., Mortal],
) -> None:
    engine = mortal(*[1.0, None] * MOST_RESTARTS)
    supervising = asyncio.create_task(supervise(engine.live, lambda: None, model="m", gives_up=False))
    await until(lambda: not engine.lives_s)
    assert not supervising.done()
    supervising.cancel()
    assert len(engine.pauses_s) == 2 * MOST_RESTARTS
