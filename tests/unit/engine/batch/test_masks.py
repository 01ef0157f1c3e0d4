"""Masks in threads. What computes is held up by events, so that nothing here depends on how fast it is."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from llguidance import LLMatcher

from tessera.core.generation import Grammar
from tessera.engine.batch.constraint import Constraint, Forced, GrammarCompiler
from tessera.engine.batch.masks import Bits, Masks, compute_mask, settle
from tessera.errors import GrammarFailed
from tessera.grammars.bytewise import ByteTokenizer

END, SIZE, PATIENCE_S = 256, 300, 60
TOKENIZER = ByteTokenizer(SIZE, {"<|im_end|>": END})


@pytest.fixture(scope="module")
def grammars() -> GrammarCompiler:
    return GrammarCompiler(TOKENIZER, [END], SIZE)


def made(grammars: GrammarCompiler, lark: str) -> Constraint:
    return grammars.constrain(Grammar(lark)).result()


def allowed(constraint: Constraint) -> list[int]:
    mask = constraint.take_mask()
    return [id for id in range(mask.size * 32) if mask[id // 32] >> id % 32 & 1]


def nothing() -> Forced:
    return Forced([])


class Gates:
    """Computes each mask when its gate is opened; all gates are open until one is closed."""

    def __init__(self) -> None:
        self.closed: dict[LLMatcher, threading.Event] = {}
        self.begun: list[LLMatcher] = []
        self._changed = threading.Condition()

    def close(self, constraint: Constraint) -> threading.Event:
        return self.closed.setdefault(constraint.matcher, threading.Event())

    def __call__(self, matcher: LLMatcher, vocabulary_size: int) -> Bits:
        with self._changed:
            self.begun.append(matcher)
            self._changed.notify_all()
        if gate := self.closed.get(matcher):
            assert gate.wait(PATIENCE_S)
        return compute_mask(matcher, vocabulary_size)

    def until_begun(self, n: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= n, PATIENCE_S)


@pytest.fixture
def gates() -> Iterator[Gates]:
    gates = Gates()
    yield gates
    for gate in gates.closed.values():
        gate.set()


def futures(*constraints: Constraint) -> list[Future[Any]]:
    return [each.masking for each in constraints if each.masking]


def test_what_is_forced_comes_before_the_mask_after_it(grammars: GrammarCompiler) -> None:
    masks, first = Masks(SIZE), made(grammars, 'start: "a" /[bc]/')
    second = first.copy()

    def follow() -> Forced:
        first.accept(ord("a"))
        return Forced([ord("a")])

    masks.submit(first, b"", follow)
    masks.submit(second, b"", nothing)
    settle(futures(first, second), PATIENCE_S)
    assert first.following
    assert first.following.result() == Forced([ord("a")])
    assert (allowed(first), allowed(second)) == ([*b"bc"], [*b"a"])
    assert first.effort is second.effort
    assert first.effort.n_masks == 2


def test_a_failed_follower_fails_alone(grammars: GrammarCompiler) -> None:
    masks, failed, sound = Masks(SIZE), made(grammars, 'start: "ab"'), made(grammars, 'start: "ab"')

    def follow() -> Forced:
        failed.accept(ord("x"))
        return Forced([])

    masks.submit(failed, b"", follow)
    masks.submit(sound, b"", nothing)
    settle(futures(failed, sound), PATIENCE_S)
    assert failed.following
    for future in (failed.following, *futures(failed)):
        with pytest.raises(GrammarFailed):
            future.result()
    assert allowed(sound) == [*b"a"]


def test_a_bug_is_the_failure_of_its_request(grammars: GrammarCompiler) -> None:
    def broken(matcher: LLMatcher, vocabulary_size: int) -> Bits:
        raise ValueError("private")

    masks, one = Masks(SIZE, compute=broken), made(grammars, 'start: "ab"')
    masks.submit(one, b"", nothing)
    settle(futures(one), PATIENCE_S)
    with pytest.raises(GrammarFailed) as failed:
        one.take_mask()
    assert "private" not in failed.value.message


def test_a_mask_that_takes_long_holds_up_no_other_account(grammars: GrammarCompiler, gates: Gates) -> None:
    masks = Masks(SIZE, compute=gates)
    greedy = [made(grammars, 'start: "ab"') for _ in range(64)]
    for each in greedy:
        gates.close(each)
        masks.submit(each, b"greedy", nothing)
    gates.until_begun(1)
    for _ in range(20):
        honest = made(grammars, 'start: "ab"')
        masks.submit(honest, b"honest", nothing)
        settle(futures(honest), PATIENCE_S)
        assert honest.is_ready
    assert not any(each.is_ready for each in greedy)


def test_slow_requests_wait_for_each_other_and_nobody_for_them(
    grammars: GrammarCompiler, gates: Gates
) -> None:
    masks = Masks(SIZE, compute=gates)
    slow = [made(grammars, 'start: "ab"') for _ in range(9)]
    for number, each in enumerate(slow):
        each.effort.add(1.0)
        gates.close(each)
        masks.submit(each, b"%d" % number, nothing)
    quick = [made(grammars, 'start: "ab"') for _ in range(9)]
    for number, each in enumerate(quick):
        masks.submit(each, b"%d" % number, nothing)
    settle(futures(*quick), PATIENCE_S)
    assert all(each.is_ready for each in quick)
    gates.until_begun(10)
    assert gates.begun[:1] == [slow[0].matcher] or slow[0].matcher in gates.begun
    assert not {each.matcher for each in slow[1:]} & {*gates.begun}


def test_accounts_take_turns_at_the_slow_thread(grammars: GrammarCompiler, gates: Gates) -> None:
    masks = Masks(SIZE, compute=gates)
    slow = [made(grammars, 'start: "ab"') for _ in range(5)]
    gate = gates.close(slow[0])
    for each, account in zip(slow, (b"a", b"a", b"a", b"b", b"c"), strict=True):
        each.effort.add(1.0)
        masks.submit(each, account, nothing)
    gates.until_begun(1)
    gate.set()
    settle(futures(*slow), PATIENCE_S)
    assert gates.begun == [slow[i].matcher for i in (0, 1, 3, 4, 2)]


def test_what_is_cancelled_is_not_computed(grammars: GrammarCompiler, gates: Gates) -> None:
    masks = Masks(SIZE, compute=gates)
    first, gone, last = (made(grammars, 'start: "ab"') for _ in range(3))
    gate = gates.close(first)
    for each in (first, gone, last):
        each.effort.add(1.0)
        masks.submit(each, b"", nothing)
    gates.until_begun(1)
    gone.cancel()
    gate.set()
    settle(futures(last), PATIENCE_S)
    assert gates.begun == [first.matcher, last.matcher]


def test_the_time_of_a_mask_is_that_of_the_clock(grammars: GrammarCompiler) -> None:
    ticks = iter(np.arange(0.0, 100.0, 0.25))
    masks, one = Masks(SIZE, clock=lambda: float(next(ticks))), made(grammars, 'start: "ab"')
    masks.submit(one, b"", nothing)
    settle(futures(one), PATIENCE_S)
    one.take_mask()
    assert one.effort.spent_s == 0.25
