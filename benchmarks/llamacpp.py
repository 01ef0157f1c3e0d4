"""Tessera with llama.cpp, beside llama.cpp's own server and the OpenVINO engine, at the width of real models.

All servers read the same file and run on this machine at the same time, but only one is busy; they take
turns. `benchmarks/README.md` says what is measured.
"""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import gettempdir

import uvloop
from benchmarks import servers
from benchmarks.llamacpp_models import MODELS, model_file

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
_ANSWER, _NEXT = "It lists what was carried, sold and lost.", "Which city is named first? One sentence."


def start(
    name: str, folder: Path, slots: int, context_tokens: int, stack: ExitStack
) -> dict[str, servers.Target]:
    """The servers of one model, by their names."""
    path = model_file(name, folder)
    model = ("--model", str(path))
    started = {
        _OURS: stack.enter_context(servers.tessera(*model, "--engine", "llamacpp")),
        _THEIRS: stack.enter_context(servers.llama(path, slots, context_tokens)),
    }
    if name in _READ_BY_OPENVINO:
        started[_OPENVINO] = stack.enter_context(servers.tessera(*model, "--engine", "openvino"))
    return started


async def compare(plan: Workload, targets: Mapping[str, servers.Target], findings: Findings) -> None:
    """Run the plan with all servers, and then second turns; Ctrl-C leaves what there is in `findings`."""
    found = [await find(name, each.url, each.api_key) for name, each in targets.items()]
    with RoundsProgress() as watch:
        await measure(plan, found, findings, watch)
    await second_turns(plan, found)


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
        print(f"  {name}: {first * 1e3:.0f} ms, then {second * 1e3:.0f} ms: {second / first:.1%}")


async def first_s(contestant: Server, body: Mapping[str, object]) -> float:
    """The time to the first token of a reply, alone on the server."""
    ask = await contestant.prepare(body, _REPLY_S)
    outcome = (await ask()).outcome()
    assert not isinstance(outcome, Failure), outcome
    assert outcome.first_s is not None
    return outcome.first_s


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.llamacpp", description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument(
        "--folder", type=Path, default=Path(gettempdir()), help="where models are made, and kept"
    )
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[1, 4, 8, 16], choices=range(1, 33), metavar="N"
    )
    parser.add_argument("--shapes", nargs="+", default=["chat", "tools", "schema", "long"], choices=[*SHAPES])
    parser.add_argument("--rounds", type=int, default=2, choices=range(1, 11), metavar="N")
    parser.add_argument("--max-tokens", type=int, default=48, choices=range(1, 513), metavar="N")
    parser.add_argument("--prompt-tokens", type=int, default=500, choices=range(16, 4001), metavar="N")
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
            targets = start(name, chosen.folder, slots, context_tokens, stack)
            print(f"{name}, {began}")
            with suppress(KeyboardInterrupt):
                runner.run(compare(plan, targets, findings))
        setting = Setting(
            command=shlex.join(["python", "-m", "benchmarks.llamacpp", *sys.argv[1:]]),
            began=began,
            machine=machine(),
            versions={library: version(library) for library in _LIBRARIES},
            servers=[{"name": server, "url": None, "model": name} for server in targets],
        )
        publish(plan, setting, findings, chosen.json / f"llamacpp-{name}.json", None)


if __name__ == "__main__":
    main()
