from dataclasses import replace

import pytest

from tessera.access.capacity import Capacity
from tessera.errors import StartupError
from tessera.models.progress import Quiet
from tessera.server.models import prepare_models, read_blueprint
from tessera.server.wiring import capacity, limits
from tessera.settings import Settings

MIB = 2**20


def of(settings: Settings) -> Capacity:
    (plan,) = prepare_models(settings, Quiet())
    return capacity(settings, read_blueprint(plan).model(None))


def test_each_priority_of_the_tiers_above_the_lowest_has_places_of_its_own() -> None:
    settings = Settings(engine="scripted", max_running=80)
    assert of(settings).reserved == {2: 8, 3: 8, 4: 8}
    trial = dict.fromkeys(("sustained_rpm", "burst_rpm", "thinking_tokens_per_day", "concurrency"), 1)
    settings = Settings(
        engine="scripted",
        max_running=80,
        workers=4,
        tiers={"trial": {**trial, "context_tokens": 64, "priority": 0}},
    )
    assert of(settings) == Capacity(20, 64, 60.0, {1: 2, 2: 2, 3: 2, 4: 2})
    assert not any(of(Settings(engine="scripted", reserved_share=0.0)).reserved.values())


def test_budgets_of_bodies_follow_the_largest_body() -> None:
    made = limits(Settings(max_body_bytes=MIB))
    assert (made.account_body_bytes, made.priority_body_bytes) == (2 * MIB, 4 * MIB)
    made = limits(Settings(max_body_bytes=MIB, account_body_bytes=MIB, priority_body_bytes=9 * MIB))
    assert (made.account_body_bytes, made.priority_body_bytes) == (MIB, 9 * MIB)


@pytest.mark.parametrize("name", ["account_body_bytes", "priority_body_bytes"])
def test_a_budget_without_room_for_the_largest_body_stops_the_start(name: str) -> None:
    with pytest.raises(StartupError) as caught:
        limits(replace(Settings(max_body_bytes=MIB), **{name: MIB - 1}))
    assert caught.value.message == f"{name} is {MIB - 1}, less than max_body_bytes, which is {MIB}."
