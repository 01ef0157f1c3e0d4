"""A run as JSON: what was measured, on which machine, by which command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from tessera.bench.figures import Figure, Measures, Spread, first_token, ratio
from tessera.bench.plan import UnsupportedShape, Workload

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a run depends on beside its workload. `servers` have names and addresses, the main one first."""

    command: str
    began: str
    machine: Mapping[str, str | int]
    versions: Mapping[str, str]
    servers: Sequence[Mapping[str, str | None]]

    @property
    def main(self) -> str | None:
        """The server that the others are compared with."""
        return self.servers[0]["name"]


def report(
    plan: Workload, setting: Setting, figures: Sequence[Figure], refusals: Sequence[UnsupportedShape]
) -> bytes:
    """The whole run, indented. Durations are in milliseconds."""
    whole: Json = {
        "command": setting.command,
        "began": setting.began,
        "machine": setting.machine,
        "versions": setting.versions,
        "servers": setting.servers,
        "plan": _plan(plan),
        "figures": [_figure(figure, main_of(figure, figures, setting.main)) for figure in figures],
        "refusals": refusals,
    }
    return msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n"


def main_of(figure: Figure, figures: Sequence[Figure], main: str | None) -> Figure | None:
    """The main server's figure in the same case, which a peer's figure is compared with, if there is one."""
    if figure.server == main:
        return None
    wanted = (main, figure.shape, figure.n_streams)
    return next((each for each in figures if (each.server, each.shape, each.n_streams) == wanted), None)


def _plan(plan: Workload) -> Json:
    return {
        "shapes": [shape.name for shape in plan.shapes],
        "streams": plan.streams,
        "rounds": plan.rounds,
        "requests": plan.limits.n_requests if plan.limits.seconds is None else None,
        "seconds": plan.limits.seconds,
        "deadline_s": plan.limits.deadline_s,
        "max_tokens": {shape.name: plan.max_tokens or shape.max_tokens for shape in plan.shapes},
        "prompt_tokens": plan.prompt_tokens,
        "seed": plan.seed,
    }


def _figure(figure: Figure, main: Figure | None) -> Json:
    ratios: Json = {}
    if main is not None:
        ratios["main_ratio"] = {
            "tokens_per_s": _rounded(ratio(main, figure, lambda each: each.tokens_per_s), 3),
            "ttft_p50": _rounded(ratio(main, figure, first_token), 3),
        }
    return {
        "server": figure.server,
        "shape": figure.shape,
        "streams": figure.n_streams,
        **_measures(figure.measures),
        **ratios,
        "rounds": [_measures(each) for each in figure.rounds],
    }


def _measures(measures: Measures) -> Json:
    return {
        "tokens_per_s": _rounded(measures.tokens_per_s, 1),
        "requests_per_s": _rounded(measures.requests_per_s, 3),
        "ttft_ms": _milliseconds(measures.ttft_s),
        "tpot_ms": _milliseconds(measures.tpot_s),
        "gap_ms": _milliseconds(measures.gap_s),
        "total_ms": _milliseconds(measures.total_s),
        "replies": measures.n_replies,
        "tokens_per_reply": measures.tokens_per_reply,
        "prompt_tokens": measures.prompt_tokens,
        "counted_by": measures.counted_by,
        "errors": measures.errors,
    }


def _milliseconds(spread: Spread | None) -> Json | None:
    if spread is None:
        return None
    return {name: _rounded(getattr(spread, name) * 1e3, 2) for name in ("p50", "p90", "p99")}


def _rounded(value: float | None, n_digits: int) -> float | None:
    return None if value is None else round(value, n_digits)
