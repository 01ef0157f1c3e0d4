"""Tokens per second at several numbers of streams: Tessera, its engine alone, and llama.cpp's own server.

All run on this machine at the same time and only one is busy; they take turns, round by round, with the same
weights, prompts and limits. `benchmarks/README.md` tells why it is done this way.
"""

import argparse
import asyncio
import shlex
import sys
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import uvloop
from benchmarks import servers
from benchmarks.direct import direct
from benchmarks.llamacpp_models import embedded_gguf

from tessera.bench.machine import machine
from tessera.bench.plan import Findings, Workload, measure
from tessera.bench.report import Setting
from tessera.bench.rounds import Limits
from tessera.bench.server import find
from tessera.bench.shapes import SHAPES
from tessera.cli.figures import RoundsProgress, publish
from tessera.models.embedded import EMBEDDED

_REPLY_S = 300.0
_LIBRARIES = ("tessera-serve", "openvino", "xllamacpp")


async def compare(plan: Workload, ours: servers.Target, theirs: servers.Target, findings: Findings) -> None:
    """Runs the plan with all three. After Ctrl-C, `findings` has what was measured until then."""
    async with direct("engine") as engine:
        tessera = await find("tessera", ours.url, ours.api_key)
        llama = await find("llama.cpp", theirs.url, None)
        with RoundsProgress() as watch:
            await measure(plan, [tessera, engine, llama], findings, watch)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[1, 8, 16, 32], choices=range(1, 33), metavar="N"
    )
    parser.add_argument("--shapes", nargs="+", default=["chat"], choices=[*SHAPES])
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 11), metavar="N")
    parser.add_argument(
        "--requests", type=int, default=1, choices=range(1, 33), metavar="N", help="of a stream in a round"
    )
    parser.add_argument(
        "--max-tokens", type=int, choices=range(1, 513), metavar="N", help="without it the shape's own"
    )
    parser.add_argument(
        "--prompt-tokens", type=int, default=500, choices=range(16, 4001), metavar="N", help="of long prompts"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the prompts")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/streams.json"), help="where to write")
    parser.add_argument("--svg", type=Path, default=Path("benchmarks/streams.svg"), help="where to plot")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    streams, limits = tuple(chosen.streams), Limits(chosen.requests, deadline_s=_REPLY_S)
    shapes = tuple(SHAPES[name] for name in chosen.shapes)
    plan = Workload(
        shapes, streams, chosen.rounds, limits, chosen.seed, chosen.max_tokens, chosen.prompt_tokens
    )
    context_tokens = 1024 + 2 * chosen.prompt_tokens  # of a slot: room for the longest prompt and its reply
    findings, began = Findings(), datetime.now(UTC).isoformat(timespec="seconds")
    with (
        servers.tessera() as ours,
        servers.llama(embedded_gguf(), max(streams), context_tokens) as theirs,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        suppress(KeyboardInterrupt),
    ):
        runner.run(compare(plan, ours, theirs, findings))
    setting = Setting(
        command=shlex.join(["python", "-m", "benchmarks.streams", *sys.argv[1:]]),
        began=began,
        machine=machine(),
        versions={name: version(name) for name in _LIBRARIES},
        servers=[
            {"name": name, "url": None, "model": EMBEDDED.model_id}
            for name in ("tessera", "engine", "llama.cpp")
        ],
    )
    publish(plan, setting, findings, chosen.json, chosen.svg)


if __name__ == "__main__":
    main()
