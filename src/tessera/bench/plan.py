"""A run: every shape at every number of streams. The servers take turns, round by round."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tessera.bench.figures import Figure, Measures, measure_round
from tessera.bench.rounds import Contestant, Limits, Round, run_round
from tessera.bench.sample import Failure
from tessera.bench.shapes import Position, Shape


@dataclass(frozen=True, slots=True)
class Workload:
    """What is measured: `rounds` rounds of each case, after one that warms up."""

    shapes: tuple[Shape, ...]
    streams: tuple[int, ...]
    rounds: int
    limits: Limits
    seed: int
    max_tokens: int | None = None
    prompt_tokens: int = 2000


@dataclass(frozen=True, slots=True)
class UnsupportedShape:
    """A server that does not support a shape, and its reason."""

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
    """What has been measured so far. An interrupted run leaves its complete rounds here."""

    measured: dict[tuple[str, int, str], list[Measures]] = field(
        default_factory=dict[tuple[str, int, str], list[Measures]]
    )
    refusals: list[UnsupportedShape] = field(default_factory=list[UnsupportedShape])

    @property
    def figures(self) -> list[Figure]:
        """In the order of the run."""
        return [
            Figure(server, shape, n_streams, tuple(rounds))
            for (shape, n_streams, server), rounds in self.measured.items()
        ]


class Watch(Protocol):
    """Shows the progress of a run."""

    def expect(self, n_rounds: int) -> None:
        """Called first, with the number of rounds, warm-ups included."""
        ...

    def begin(self, text: str) -> None:
        """A round begins; `text` says which."""
        ...

    def advance(self, n_rounds: float) -> None:
        """So many rounds, or such a part of one, have finished since the last call."""
        ...

    def note(self, text: str) -> None: ...


async def measure(
    plan: Workload, contestants: Sequence[Contestant], findings: Findings, watch: Watch
) -> None:
    """Run all cases, and add each round to `findings` as it finishes."""
    cases = [Case(shape, n) for shape in plan.shapes for n in plan.streams]
    watch.expect(len(cases) * len(contestants) * (plan.rounds + 1))
    for case in cases:
        for turn in range(plan.rounds + 1):
            for contestant in contestants:
                await _take_turn(plan, case, turn, contestant, findings, watch)


async def _take_turn(
    plan: Workload, case: Case, turn: int, contestant: Contestant, findings: Findings, watch: Watch
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
        findings.refusals.append(UnsupportedShape(name, shape, refusal))
        watch.note(f"{name} does not do {shape}: {refusal}")


async def _run(plan: Workload, case: Case, turn: int, contestant: Contestant, watch: Watch) -> Round:
    reached = 0.0

    def progress(share: float) -> None:
        nonlocal reached
        watch.advance(share - reached)
        reached = share

    def question(stream: int, index: int) -> Mapping[str, object]:
        place = Position(plan.seed, case.n_streams, turn, stream, index)
        return case.shape.body(place, plan.prompt_tokens, plan.max_tokens)

    # One request of each stream is warm-up enough: it creates what a server creates at its first use.
    limits = plan.limits if turn else Limits(1, deadline_s=plan.limits.deadline_s)
    round = await run_round(contestant, question, case.n_streams, limits, progress)
    progress(1.0)
    return round


def _refusal(round: Round) -> str | None:
    """Why the server supports no such requests at all; None if it does, or might."""
    refused = [each for each in round.outcomes if isinstance(each, Failure) and each.refused]
    return f"{refused[0].reason}: {refused[0].message}" if len(refused) == len(round.outcomes) else None
