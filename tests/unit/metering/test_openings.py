"""Beginnings that wait to be written: against a plain account of which have to be there, and by when."""

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tessera.core.entry import Entry
from tessera.metering.openings import ALONG_S, WITHIN_S, Opening, Openings

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "begin", "end", "ask", "commit"]),
        st.floats(0, 2 * ALONG_S),
        st.integers(0, 3),
    ),
    max_size=60,
)


@dataclass
class Simulated:
    """A ledger that writes at once, on a clock of its own; it comes by whenever it is due."""

    openings: Openings = field(default_factory=Openings)
    now_s: float = 0.0
    began_s: dict[str, float] = field(default_factory=dict[str, float])
    written_s: dict[str, float] = field(default_factory=dict[str, float])

    def write(self, openings: list[Opening]) -> None:
        for opening in openings:
            id = opening.look().id
            assert id in self.began_s, "has ended"
            assert id not in self.written_s, "is written already"
            self.written_s[id] = self.now_s

    def wait(self, for_s: float) -> None:
        until_s = self.now_s + for_s
        while (due_s := self.openings.due_s(self.now_s)) is not None and self.now_s + due_s <= until_s:
            self.now_s += due_s
            self.write(self.openings.take_along(self.now_s))
        self.now_s = until_s

    def begin(self, id: str) -> None:
        self.began_s[id] = self.now_s
        self.openings.begin(id, lambda: Entry(id, "a", "k", "m", "direct", True, 0.0), self.now_s)

    def ask(self, id: str) -> None:
        opening = self.openings.take(id)
        if id not in self.written_s:
            self.write([opening])

    def end(self, id: str) -> None:
        self.openings.end(id)
        del self.began_s[id]


@given(STEPS)
def test_whatever_happens_a_beginning_is_written_once_and_in_time(
    steps: list[tuple[str, float, int]],
) -> None:
    ledger = Simulated()
    for number, (step, pause_s, which) in enumerate(steps):
        ledger.wait(pause_s)
        running = list(ledger.began_s)
        if step == "begin":
            ledger.begin(str(number))
        elif step == "commit":
            ledger.write(ledger.openings.take_along(ledger.now_s))
            old = [id for id, began_s in ledger.began_s.items() if began_s <= ledger.now_s - ALONG_S]
            assert ledger.written_s.keys() >= set(old)
        elif running:
            id = running[which % len(running)]
            getattr(ledger, step)(id)
            assert step == "end" or ledger.written_s[id] <= ledger.now_s
        late = [id for id, began_s in ledger.began_s.items() if began_s + WITHIN_S < ledger.now_s - 1e-9]
        assert ledger.written_s.keys() >= set(late)
        assert {entry.id for entry in ledger.openings.entries()} == ledger.began_s.keys()
    ledger.write(ledger.openings.take_all())
    assert ledger.written_s.keys() >= ledger.began_s.keys()
    assert ledger.openings.due_s(ledger.now_s) is None


def test_one_that_is_being_written_when_it_is_asked_for_is_not_written_again() -> None:
    async def check() -> None:
        ledger = Simulated()
        ledger.begin("1")
        (opening,) = ledger.openings.take_all()
        opening.written = asyncio.get_running_loop().create_future()
        assert ledger.openings.take("1").written is opening.written

    asyncio.run(check())
