"""Running requests against a key ring that changes its mind, and counts how often it is asked."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from tessera.access.keys import OPERATOR, Identity, Keys
from tessera.access.watch import KeyWatch
from tessera.errors import InvalidApiKey, PermissionDenied, StoreUnavailable, TesseraError

pytestmark = pytest.mark.anyio

MODEL = frozenset({"m", "alias"})


@dataclass
class Ring:
    failures: dict[str | None, Exception] = field(default_factory=dict)
    models: frozenset[str] | None = None
    asked: list[str | None] = field(default_factory=list)

    async def identify(self, authorization: str | None) -> Identity:
        self.asked.append(authorization)
        if failure := self.failures.get(authorization):
            raise failure
        keys = Keys()
        keys.add("good-key-1", OPERATOR)
        return replace(keys.check("Bearer good-key-1"), models=self.models)


async def test_each_key_is_asked_for_once_however_many_requests_it_has() -> None:
    ring = Ring()
    watch, ended = KeyWatch(ring), list[TesseraError]()
    with watch.over("one", MODEL, ended.append), watch.over("two", MODEL, ended.append):
        for _ in range(20):
            with watch.over("one", MODEL, ended.append):
                pass
        with watch.over("one", MODEL, ended.append):
            await watch.check()
    assert sorted(filter(None, ring.asked)) == ["one", "two"]
    await watch.check()
    assert (len(ring.asked), ended) == (2, [])


@pytest.mark.parametrize("failure", [InvalidApiKey("revoked"), PermissionDenied("no such tier")])
async def test_all_requests_of_a_key_that_is_no_longer_valid_end_and_no_others(failure: TesseraError) -> None:
    ring = Ring(failures={"one": failure})
    watch, one, two = KeyWatch(ring), list[TesseraError](), list[TesseraError]()
    with (
        watch.over("one", MODEL, one.append),
        watch.over("two", MODEL, two.append),
        watch.over("one", MODEL, one.append),
    ):
        await watch.check()
    assert (one, two) == ([failure, failure], [])


@pytest.mark.parametrize(("models", "n_ended"), [({"alias"}, 0), ({"other"}, 1), (set(), 1)])
async def test_a_key_that_may_use_the_model_no_longer_ends_its_requests(
    models: set[str], n_ended: int
) -> None:
    watch, ended = KeyWatch(Ring(models=frozenset(models))), list[TesseraError]()
    with watch.over("one", MODEL, ended.append):
        await watch.check()
    assert [error.code for error in ended] == ["permission_denied"] * n_ended


async def test_a_store_that_cannot_answer_ends_nothing_and_a_bug_does_not_end_the_watch() -> None:
    ring = Ring(failures={"one": StoreUnavailable("down")})
    watch, ended = KeyWatch(ring, every_s=0.0), asyncio.Event()
    with watch.over("one", MODEL, lambda error: ended.set()):
        watching = asyncio.create_task(watch.run())
        while len(ring.asked) < 3:  # noqa: ASYNC110 asked by another task
            await asyncio.sleep(0)
        assert not ended.is_set()
        ring.failures["one"] = ValueError("a bug")
        n_asked = len(ring.asked)
        while len(ring.asked) < n_asked + 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        ring.failures["one"] = InvalidApiKey("revoked")
        await ended.wait()
    watching.cancel()
