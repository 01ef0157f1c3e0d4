"""Tessera with llama.cpp, beside llama.cpp's own server and the OpenVINO engine, at the width of real models.

All servers read the same file and run on this machine at the same time, but only one is busy; they take
turns. `benchmarks/README.md` says what is measured.
"""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import gettempdir

import uvloop
from benchmarks import servers
from benchmarks.llamacpp_models import MODELS, model_file

from tessera.bench.figures import first_token, ratio
from tessera.bench.machine import machine
from tessera.bench.plan import Findings, Workload, measure
from tessera.bench.report import Setting
from tessera.bench.rounds import Limits
from tessera.bench.sample import Failure
from tessera.bench.server import Server, find
from tessera.bench.shapes import SHAPES, Position
from tessera.cli.figures import RoundsProgress, publish

_REPLY_S = 600.0
_OURS, _THEIRS, _OPENVINO = "tessera", "llama.cpp", "openvino"
_READ_BY_OPENVINO = ("embedded-q4_1", "embedded-q4_0", "qwen3-1.7b")
_LIBRARIES = ("tessera-serve", "openvino", "xllamacpp")
_LONG = "long"
# How many times llama.cpp's tokens per second, and of long prompts how many times as soon the first token.
_GOALS = {"chat": 1.0, "tools": 1.5, "schema": 1.5, _LONG: 1.0}
_GOAL_SECOND_TURN = 0.15
_ANSWER, _NEXT = "It lists what was carried, sold and lost.", "Which city is named first? One sentence."


def start(
    name: str, folder: Path, slots: int, context_tokens: int, stack: ExitStack, *, openvino: bool
) -> dict[str, servers.Target]:
    """The servers of one model, by their names."""
    path = model_file(name, folder)
    model = ("--model", str(path))
    started = {
        _OURS: stack.enter_context(servers.tessera(*model, "--engine", "llamacpp")),
        _THEIRS: stack.enter_context(servers.llama(path, slots, context_tokens)),
    }
    if openvino and name in _READ_BY_OPENVINO:
        started[_OPENVINO] = stack.enter_context(servers.tessera(*model, "--engine", "openvino"))
    return started


async def compare(
    plan: Workload,
    prefill_streams: tuple[int, ...],
    targets: Mapping[str, servers.Target],
    findings: Findings,
) -> None:
    """Run second turns and then the plan with all servers, long prompts at streams of their own; Ctrl-C and a
    timeout leave what there is in `findings`.
    """
    found = [await find(name, each.url, each.api_key) for name, each in targets.items()]
    await second_turns(plan, found)
    long = tuple(shape for shape in plan.shapes if shape.name == _LONG)
    rest = tuple(shape for shape in plan.shapes if shape.name != _LONG)
    with RoundsProgress() as watch:
        if long:
            await measure(replace(plan, shapes=long, streams=prefill_streams), found, findings, watch)
        await measure(replace(plan, shapes=rest), found, findings, watch)


async def second_turns(plan: Workload, contestants: Sequence[Server]) -> None:
    """Print the first token of a long prompt, and that of the same conversation with one more question."""
    taken: dict[str, list[tuple[float, float]]] = {each.name: [] for each in contestants}
    for turn in range(plan.rounds + 1):
        place = Position(plan.seed, 1, 1000 + turn, 0, 0)
        body = SHAPES["long"].body(place, plan.prompt_tokens, 16)
        messages = body["messages"]
        assert isinstance(messages, list)
        asked = [{"role": "assistant", "content": _ANSWER}, {"role": "user", "content": _NEXT}]
        later = {**body, "messages": [*messages, *asked]}
        for contestant in contestants:
            both = (await first_s(contestant, body), await first_s(contestant, later))
            if turn:
                taken[contestant.name].append(both)
    print(f"second turn after a prompt of about {plan.prompt_tokens} tokens:")
    for name, times_s in taken.items():
        first, second = (median(each) for each in zip(*times_s, strict=True))
        goal = f"; goal {_GOAL_SECOND_TURN:.0%}" if name == _OURS else ""
        print(f"  {name}: {first * 1e3:.0f} ms, then {second * 1e3:.0f} ms: {second / first:.1%}{goal}")


def print_goals(findings: Findings) -> None:
    """Print what the medians are in those of llama.cpp, beside the goals."""
    figures = {(each.server, each.shape, each.n_streams): each for each in findings.figures}
    print("times llama.cpp, medians: tokens per second; of long prompts, how much sooner the first token")
    for (server, shape, n_streams), ours in figures.items():
        theirs = figures.get((_THEIRS, shape, n_streams))
        if server != _OURS or theirs is None:
            continue
        sooner = ratio(theirs, ours, first_token) if shape == _LONG else None
        times = sooner if shape == _LONG else ratio(ours, theirs, lambda each: each.tokens_per_s)
        if times is not None:
            verdict = "reached" if times >= _GOALS[shape] else "missed"
            print(f"  {shape:7}{n_streams:3} streams: {times:5.2f}, goal {_GOALS[shape]}: {verdict}")


async def first_s(contestant: Server, body: Mapping[str, object]) -> float:
    """The time to the first token of a reply, alone on the server."""
    ask = await contestant.prepare(body, _REPLY_S)
    outcome = (await ask()).outcome()
    assert not isinstance(outcome, Failure), outcome
    assert outcome.first_s is not None
    return outcome.first_s


async def within(seconds: float, measuring: Coroutine[object, object, None]) -> None:
    """Raises `TimeoutError` if it takes longer."""
    async with asyncio.timeout(seconds):
        await measuring


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llamacpp", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["embedded-q4_1"], choices=MODELS)
    parser.add_argument("--openvino", action="store_true", help="beside the OpenVINO engine as well")
    parser.add_argument("--minutes", type=float, default=11, help="the longest that one model may take")
    parser.add_argument(
        "--folder", type=Path, default=Path(gettempdir()), help="where models are made, and kept"
    )
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[1, 4, 8, 16], choices=range(1, 33), metavar="N"
    )
    parser.add_argument(
        "--prefill-streams", type=int, nargs="+", default=[1, 4], choices=range(1, 33), metavar="N"
    )
    parser.add_argument("--shapes", nargs="+", default=[*_GOALS], choices=[*_GOALS])
    parser.add_argument("--rounds", type=int, default=2, choices=range(1, 11), metavar="N")
    parser.add_argument("--max-tokens", type=int, default=48, choices=range(1, 513), metavar="N")
    parser.add_argument("--prompt-tokens", type=int, default=400, choices=range(16, 4001), metavar="N")
    parser.add_argument("--seed", type=int, default=0, help="of the prompts")
    parser.add_argument("--json", type=Path, default=Path("benchmarks"), help="the folder for the figures")
    return parser.parse_args()


def main() -> None:
    """Measure one model after the other; print a table, and write the JSON, of each."""
    chosen = arguments()
    shapes = tuple(SHAPES[name] for name in chosen.shapes)
    limits = Limits(1, deadline_s=_REPLY_S)
    plan = Workload(
        shapes,
        tuple(chosen.streams),
        chosen.rounds,
        limits,
        chosen.seed,
        chosen.max_tokens,
        chosen.prompt_tokens,
    )
    for name in chosen.models:
        findings, began = Findings(), datetime.now(UTC).isoformat(timespec="seconds")
        with ExitStack() as stack, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            slots, context_tokens = max(chosen.streams), 1024 + 2 * chosen.prompt_tokens
            targets = start(name, chosen.folder, slots, context_tokens, stack, openvino=chosen.openvino)
            print(f"{name}, {began}")
            with suppress(KeyboardInterrupt, TimeoutError):
                prefill = tuple(chosen.prefill_streams)
                runner.run(within(chosen.minutes * 60, compare(plan, prefill, targets, findings)))
        setting = Setting(
            command=shlex.join(["python", "-m", "benchmarks.llamacpp", *sys.argv[1:]]),
            began=began,
            machine=machine(),
            versions={library: version(library) for library in _LIBRARIES},
            servers=[{"name": server, "url": None, "model": name} for server in targets],
        )
        publish(plan, setting, findings, chosen.json / f"llamacpp-{name}.json", None)
        print_goals(findings)


if __name__ == "__main__":
    main()
