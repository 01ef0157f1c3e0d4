"""Tokens per second over HTTP at several numbers of streams: Tessera against llama.cpp's own server.

Both run on this machine at the same time and only one is busy; they take turns, round by round, with the same
weights, prompts and limits. `benchmarks/README.md` tells why it is done this way.
"""

import argparse
import asyncio
import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median, median_low

from benchmarks import servers
from benchmarks.client import Round, Target, ask_together

from tessera.weights.cache import Cache, default_root, entry_name
from tessera.weights.embedded import EMBEDDED

_HEROES = [
    "clockmaker",
    "fisherman",
    "young queen",
    "retired spy",
    "lost robot",
    "baker",
    "cartographer",
    "wolf",
]
_PLACES = ["on an island", "in a city under the sea", "on a night train", "in the mountains of the moon"]
_PAIRS = list(product(_HEROES, _PLACES))
_ROUND_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Figure:
    """The rounds of one server at one number of streams; all figures are medians over them."""

    server: str
    streams: int
    rounds: tuple[Round, ...]

    def row(self) -> dict[str, str | int | float | list[float]]:
        """The figure as it is published, with every round's throughput."""
        samples = [sample for round in self.rounds for sample in round.samples]
        return {
            "server": self.server,
            "streams": self.streams,
            "tokens_per_s": round(median(one.tokens_per_s for one in self.rounds), 1),
            "rounds_tokens_per_s": [round(one.tokens_per_s, 1) for one in self.rounds],
            "first_text_ms": round(median(sample.first_text_s for sample in samples) * 1e3, 1),
            "tokens_per_reply": median_low(sample.completion_tokens for sample in samples),
            "prompt_tokens": median_low(sample.prompt_tokens for sample in samples),
        }


def prompts(streams: int, turn: int) -> list[str]:
    """As many prompts as streams; none is ever sent twice, so that no cache answers for the engine."""
    return [
        f"Story {streams}-{turn}-{index}. Tell a very long story in twelve chapters about a {hero} {place}. "
        "Describe everything in detail and do not stop before the last chapter."
        for index, (hero, place) in zip(range(streams), _PAIRS, strict=False)
    ]


def compare(targets: dict[str, Target], streams: int, rounds: int, max_tokens: int) -> list[Figure]:
    """One warm-up for each server, then `rounds` in turns."""
    taken: dict[str, list[Round]] = {name: [] for name in targets}
    for turn in range(rounds + 1):
        for name, target in targets.items():
            asked = ask_together(target, prompts(streams, turn), max_tokens, _ROUND_LIMIT_S)
            taken[name].append(asyncio.run(asked))
    return [Figure(name, streams, tuple(all_rounds[1:])) for name, all_rounds in taken.items()]


def embedded_gguf() -> Path:
    """The file that Tessera's embedded model was made of, in its cache from the first start on."""
    entry = Cache(default_root()).find(entry_name(EMBEDDED.model_id))
    assert entry is not None, "tessera serve has put it there"
    return entry.path / Path(EMBEDDED.member).name


def machine() -> dict[str, str | int]:
    """What the figures depend on."""
    cpus = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "MemTotal: ?")
    return {
        "cpu": cpus[0].partition(": ")[2] if cpus else platform.processor(),
        "cores": os.cpu_count() or 1,
        "memory": memory.partition(":")[2].strip(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in ("tessera-serve", "openvino", "xllamacpp")},
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table."""
    columns: list[tuple[str, Callable[[Figure], str]]] = [
        ("streams", lambda figure: str(figure.streams)),
        ("server", lambda figure: figure.server),
        ("tokens/s", lambda figure: str(figure.row()["tokens_per_s"])),
        ("first text, ms", lambda figure: str(figure.row()["first_text_ms"])),
        ("tokens per reply", lambda figure: str(figure.row()["tokens_per_reply"])),
    ]
    lines = [[name for name, _ in columns], ["---:" for _ in columns]]
    lines += [[show(figure) for _, show in columns] for figure in figures]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__)
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[1, 8, 16, 32], choices=range(1, 33), metavar="N"
    )
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 11), metavar="N")
    parser.add_argument("--max-tokens", type=int, default=128, choices=range(1, 513), metavar="N")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/streams.json"), help="where to write")
    return parser.parse_args()


def main() -> None:
    """Measure, print the table, write the JSON."""
    chosen = arguments()
    figures: list[Figure] = []
    with servers.tessera() as tessera, servers.llama(embedded_gguf(), max(chosen.streams)) as llama:
        for streams in chosen.streams:
            targets = {"tessera": tessera, "llama.cpp": llama}
            figures += compare(targets, streams, chosen.rounds, chosen.max_tokens)
            print(table(figures[-2:]), flush=True)
    measured = {"machine": machine(), "figures": [figure.row() for figure in figures]}
    chosen.json.write_text(json.dumps(measured, indent=2) + "\n")
    print(f"\n{table(figures)}\n\n{json.dumps(measured['machine'])}")


if __name__ == "__main__":
    main()
