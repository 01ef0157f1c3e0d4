import asyncio
from collections.abc import Callable

import pytest

from tessera.engine import supervision
from tessera.engine.supervision import supervise
from tessera.errors import EngineUnavailable

pytestmark = pytest.mark.anyio


class Mortal:
    """An engine whose starts do what they are told, and that dies when it is told."""

    def __init__(self, *starts: str) -> None:
        self.starts = list(starts)
        self.n_started = 0
        self.reason: str | None = "engine_starting"

    async def start(self) -> None:
        self.n_started += 1
        how = self.starts.pop(0) if self.starts else "close"
        self.reason = {"live": None, "die": "engine_dead", "close": "engine_closed"}.get(how, "engine_dead")
        if how == "fail":
            raise EngineUnavailable("it would not")

    def unready(self) -> str | None:
        return self.reason


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_EVERY_S", "FIRST_DELAY_S", "LAST_DELAY_S"):
        monkeypatch.setattr(supervision, name, 0.0)


def counting() -> tuple[list[str], Callable[[], None]]:
    calls: list[str] = []
    return calls, lambda: calls.append("started")


async def test_a_first_start_that_fails_is_an_error() -> None:
    calls, started = counting()
    with pytest.raises(EngineUnavailable):
        await supervise(Mortal("fail"), started)
    assert calls == []


async def test_an_engine_that_dies_is_started_until_it_lives() -> None:
    engine = Mortal("die", "fail", "fail", "die", "close")
    calls, started = counting()
    await supervise(engine, started)
    assert engine.n_started == 5
    assert calls == ["started"]


async def test_a_closed_engine_is_left_alone() -> None:
    engine = Mortal("live")
    task = asyncio.create_task(supervise(engine, lambda: None))
    await asyncio.sleep(0)
    engine.reason = "engine_closed"
    await task
    assert engine.n_started == 1
