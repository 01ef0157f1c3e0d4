"""`tessera bench`: loads a server on this machine and shows how fast it answers."""

import asyncio
import os
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import uvloop

from tessera import __version__
from tessera.bench.machine import machine
from tessera.bench.plan import Findings, Workload, measure
from tessera.bench.report import Setting
from tessera.bench.rounds import Limits
from tessera.bench.server import Server, find
from tessera.bench.shapes import SHAPES, Shape
from tessera.cli.figures import RoundsProgress, publish
from tessera.cli.values import FiniteRange, authorization
from tessera.errors import CommandError

_MOST_STREAMS = 2048


def _shapes(context: click.Context, parameter: click.Parameter, value: str) -> tuple[Shape, ...]:
    names = [name.strip() for name in value.split(",")]
    if unknown := [name for name in names if name not in SHAPES]:
        raise click.BadParameter(f"{', '.join(unknown)} is not one of {', '.join(SHAPES)}.")
    return tuple(SHAPES[name] for name in dict.fromkeys(names))


def _streams(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    numbers = [int(part) if part.strip().isdecimal() else 0 for part in value.split(",")]
    if not all(1 <= number <= _MOST_STREAMS for number in numbers):
        raise click.BadParameter(f"{value!r} is not a list of numbers from 1 to {_MOST_STREAMS}.")
    return tuple(dict.fromkeys(numbers))


def _peers(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    if wrong := [value for value, (name, _, url) in zip(values, pairs, strict=True) if not (name and url)]:
        raise click.BadParameter(f"{wrong[0]!r} is not of the form NAME=URL.")
    named = {name: url for name, _, url in pairs}
    if len(named) < len(values):
        raise click.BadParameter("Two peers have the same name.")
    return named


@click.command(
    epilog="Shapes: " + "; ".join(f"{each.name}, {each.meaning}" for each in SHAPES.values()) + "."
)
@click.option(
    "--url",
    envvar="TESSERA_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    show_envvar=True,
    help="URL of the server, on this machine, with or without /v1.",
)
@click.option("--name", default="tessera", show_default=True, help="Name of the server in the results.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME=URL",
    callback=_peers,
    help="Another server, measured in turns with the first.",
)
@click.option(
    "--model", help="Model of the server; without it, the first that it lists. Peers use their first."
)
@click.option(
    "--shape",
    "shapes",
    default="chat",
    show_default=True,
    callback=_shapes,
    help="Kinds of requests, separated by commas.",
)
@click.option(
    "--streams",
    default="1,8,16,32",
    show_default=True,
    callback=_streams,
    help="Numbers of concurrent streams.",
)
@click.option(
    "--requests",
    "n_requests",
    type=click.IntRange(1, 10_000),
    default=1,
    show_default=True,
    help="Requests of each stream in a round, one after the other.",
)
@click.option(
    "--seconds",
    type=FiniteRange(0.1, 600),
    help="Instead of --requests: seconds for which streams send requests.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=3,
    show_default=True,
    help="Rounds of each server, after one that does not count.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1, 100_000),
    help="Maximum number of tokens of a reply; without it, the shape's own.",
)
@click.option(
    "--prompt-tokens",
    type=click.IntRange(16, 200_000),
    default=2000,
    show_default=True,
    help="Approximate number of tokens of long prompts.",
)
@click.option(
    "--deadline",
    type=FiniteRange(0.1, 3600),
    default=300,
    show_default=True,
    help="Seconds that a request may take.",
)
@click.option("--seed", type=click.IntRange(0), help="Repeat the questions of an earlier run.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all results to this file.",
)
@click.option(
    "--svg", "svg_file", type=click.Path(dir_okay=False, path_type=Path), help="Write a plot to this file."
)
@click.pass_context
def bench(
    context: click.Context,
    url: str,
    name: str,
    peers: Mapping[str, str],
    model: str | None,
    shapes: tuple[Shape, ...],
    streams: tuple[int, ...],
    n_requests: int,
    seconds: float | None,
    rounds: int,
    max_tokens: int | None,
    prompt_tokens: int,
    deadline: float,
    seed: int | None,
    json_file: Path | None,
    svg_file: Path | None,
) -> None:
    """Load a server on this machine that speaks OpenAI's API, and show how fast it answers.

    The key comes from TESSERA_API_KEY, never from a flag, and is also sent to peers. Servers take turns,
    round by round, with the same questions; the results are medians over the rounds. Ctrl-C ends the run and
    shows the results so far.
    """
    limits = Limits(n_requests, seconds, deadline)
    seed = secrets.randbelow(10**6) if seed is None else seed
    plan = Workload(shapes, streams, rounds, limits, seed, max_tokens, prompt_tokens)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    began = datetime.now(UTC).isoformat(timespec="seconds")
    api_key = os.environ.get("TESSERA_API_KEY", "").strip() or None
    authorization(api_key)  # raises for one that cannot be sent
    for file in filter(None, (json_file, svg_file)):  # before minutes are spent
        _require_folder(file)
    findings, interrupted = Findings(), False
    if name in peers:
        raise click.UsageError(f"--peer: {name} is already the name of the server itself; see --name.")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        servers = runner.run(_find({name: url, **peers}, api_key, model))
        try:
            with RoundsProgress() as watch:
                runner.run(measure(plan, servers, findings, watch))
        except KeyboardInterrupt:
            interrupted = True
    named = [{"name": each.name, "url": each.address.url, "model": each.model} for each in servers]
    setting = Setting(command, began, machine(), {"tessera-serve": __version__}, named)
    publish(plan, setting, findings, json_file, svg_file)
    if interrupted:
        context.exit(130)
    if not any(figure.server == name and figure.measures.n_replies for figure in findings.figures):
        raise click.ClickException(f"No reply of {name} ended well.")


def _require_folder(file: Path) -> None:
    if not os.access(file.parent, os.W_OK):
        raise CommandError(f"{file} cannot be written: there is no such folder, or it is read-only.")


async def _find(urls: Mapping[str, str], api_key: str | None, model: str | None) -> list[Server]:
    """All of them, the main one first; it is the one that is asked for `model`."""
    main, *_ = urls
    return [await find(name, url, api_key, model if name == main else None) for name, url in urls.items()]
