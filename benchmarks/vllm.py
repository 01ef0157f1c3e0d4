"""Tokens per second and first tokens: Tessera on vLLM, and vLLM's own server, with the same weights.

Both run on this machine and only one is busy at a time; they take turns, round by round, as in `streams`.
With `--cases`, both first get the same requests with tools and schemas, and what they return is judged by the
same rules; with `--rounds 0` nothing is measured after that.
"""

import argparse
import asyncio
import shlex
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from benchmarks import servers, vllm_cases

from tessera.bench.machine import machine
from tessera.bench.plan import Findings, Workload, measure
from tessera.bench.report import Setting
from tessera.bench.rounds import Limits
from tessera.bench.server import find
from tessera.bench.shapes import SHAPES
from tessera.cli.figures import RoundsProgress, publish
from tessera.engine.vllm.install import describe

_REPLY_S = 600.0


async def compare(plan: Workload, ours: servers.Target, theirs: servers.Target, findings: Findings) -> None:
    """Run the plan with both; Ctrl-C leaves what there is in `findings`."""
    tessera = await find("tessera", ours.url, ours.api_key)
    vllm = await find("vllm", theirs.url, theirs.api_key)
    with RoundsProgress() as watch:
        await measure(plan, [tessera, vllm], findings, watch)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vllm", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a folder with safetensors")
    parser.add_argument("--python", type=Path, required=True, help="of an environment with vLLM")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 16], metavar="N")
    parser.add_argument("--shapes", nargs="+", default=["chat", "tools", "schema"], choices=[*SHAPES])
    parser.add_argument("--rounds", type=int, default=5, choices=range(11), metavar="N")
    parser.add_argument("--requests", type=int, default=1, choices=range(1, 33), metavar="N")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="without it the shape's own")
    parser.add_argument("--context-tokens", type=int, default=4096, metavar="N")
    parser.add_argument("--tool-parser", default="hermes", help="of vLLM's server; qwen3_coder for Qwen3.6")
    parser.add_argument("--gpu-share", type=float, default=0.45, help="of each server in a GPU's memory")
    parser.add_argument("--precision", default="auto", choices=["auto", "f32"])
    parser.add_argument("--cases", type=int, default=0, metavar="N", help="first judge so many requests")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/vllm.json"), help="where to write")
    parser.add_argument("--svg", type=Path, default=Path("benchmarks/vllm.svg"), help="where to plot")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, write the JSON and the plot."""
    chosen = arguments()
    shapes = tuple(SHAPES[name] for name in chosen.shapes)
    limits = Limits(chosen.requests, deadline_s=_REPLY_S)
    plan = Workload(shapes, tuple(chosen.streams), chosen.rounds, limits, 0, chosen.max_tokens)
    served = servers.VllmServed(
        model=chosen.model,
        python=chosen.python,
        n_sequences=max(chosen.streams),
        context_tokens=chosen.context_tokens,
        precision=chosen.precision,
        gpu_share=chosen.gpu_share,
    )
    findings, began = Findings(), datetime.now(UTC).isoformat(timespec="seconds")
    with (
        servers.tessera_on_vllm(served) as ours,
        servers.vllm(served, chosen.tool_parser) as theirs,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        suppress(KeyboardInterrupt),
    ):
        if chosen.cases:
            runner.run(vllm_cases.judge({"tessera": ours, "vllm": theirs}, chosen.cases))
        if chosen.rounds:
            runner.run(compare(plan, ours, theirs, findings))
    if not chosen.rounds:
        return
    installed = describe(chosen.python)
    setting = Setting(
        command=shlex.join(["python", "-m", "benchmarks.vllm", *sys.argv[1:]]),
        began=began,
        machine=machine(),
        versions={installed.package: installed.version},
        servers=[{"name": name, "url": None, "model": chosen.model.name} for name in ("tessera", "vllm")],
    )
    publish(plan, setting, findings, chosen.json, chosen.svg)


if __name__ == "__main__":
    main()
