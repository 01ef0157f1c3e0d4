"""A run: every shape at every number of streams, the contestants in turns, round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tessera.bench.figures import Figure, Measures, measure_round
from tessera.bench.rounds import Contestant, Limits, Round, run_round
from tessera.bench.sample import Failure
from tessera.bench.shapes import Place, Shape


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. `rounds` of each count; one before them warms up."""

    shapes: tuple[Shape, ...]
    streams: tuple[int, ...]
    rounds: int
    limits: Limits
    seed: int
    max_tokens: int | None = None
    prompt_tokens: int = 2000


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server does not do a shape, and why."""

    server: str
    shape: str
    message: str


@dataclass(frozen=True, slots=True)
class Case:
    """A shape at a number of streams."""

    shape: Shape
    n_streams: int


@dataclass(slots=True)
class Findings:
    """What is known so far: a run that is broken off leaves its whole rounds here."""

    measured: dict[tuple[str, int, str], list[Measures]] = field(
        default_factory=dict[tuple[str, int, str], list[Measures]]
    )
    refusals: list[Refusal] = field(default_factory=list[Refusal])

    @property
    def figures(self) -> list[Figure]:
        """In the order of the run."""
        return [
            Figure(server, shape, n_streams, tuple(rounds))
            for (shape, n_streams, server), rounds in self.measured.items()
        ]


class Watch(Protocol):
    """Who is told how far a run is."""

    def expect(self, n_rounds: int) -> None:
        """So many rounds will be run."""
        ...

    def begin(self, text: str) -> None:
        """A round begins."""
        ...

    def advance(self, n_rounds: float) -> None:
        """So many rounds, or such a part of one, are over since the last call."""
        ...

    def note(self, text: str) -> None:
        """Something to know."""
        ...


async def measure(plan: Plan, contestants: Sequence[Contestant], findings: Findings, watch: Watch) -> None:
    """Run the plan; `findings` grows as it goes."""
    cases = [Case(shape, n) for shape in plan.shapes for n in plan.streams]
    watch.expect(len(cases) * len(contestants) * (plan.rounds + 1))
    for case in cases:
        for turn in range(plan.rounds + 1):
            for contestant in contestants:
                await _take_turn(plan, case, turn, contestant, findings, watch)


async def _take_turn(
    plan: Plan, case: Case, turn: int, contestant: Contestant, findings: Findings, watch: Watch
) -> None:
    name, shape = contestant.name, case.shape.name
    if any((refusal.server, refusal.shape) == (name, shape) for refusal in findings.refusals):
        watch.advance(1)
        return
    which = f"round {turn} of {plan.rounds}" if turn else "warm-up"
    label = f"{shape}, streams {case.n_streams}, {name}, {which}"
    watch.begin(label)
    round = await _run(plan, case, turn, contestant, watch)
    if turn:
        measures = measure_round(round)
        findings.measured.setdefault((shape, case.n_streams, name), []).append(measures)
        watch.note(f"{label}: {measures.tokens_per_s:.1f} tokens/s")
    elif refusal := _refusal(round):
        findings.refusals.append(Refusal(name, shape, refusal))
        watch.note(f"{name} does not do {shape}: {refusal}")


async def _run(plan: Plan, case: Case, turn: int, contestant: Contestant, watch: Watch) -> Round:
    reached = 0.0

    def progress(share: float) -> None:
        nonlocal reached
        watch.advance(share - reached)
        reached = share

    def question(stream: int, index: int) -> Mapping[str, object]:
        place = Place(plan.seed, case.n_streams, turn, stream, index)
        return case.shape.body(place, plan.prompt_tokens, plan.max_tokens)

    # A warm-up need not last: one request of each stream makes what is made at a first time.
    limits = plan.limits if turn else Limits(1, deadline_s=plan.limits.deadline_s)
    round = await run_round(contestant, question, case.n_streams, limits, progress)
    progress(1.0)
    return round


def _refusal(round: Round) -> str | None:
    """Why the server does not do such requests at all; None if it does, or might."""
    refused = [each for each in round.outcomes if isinstance(each, Failure) and each.refused]
    return f"{refused[0].reason}: {refused[0].message}" if len(refused) == len(round.outcomes) else None
