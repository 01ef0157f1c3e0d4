"""`tessera plan`: what memory a model needs on a machine, and how fast it can be there."""

from collections.abc import Sequence
from pathlib import Path

import click

from tessera.cli.options import with_settings
from tessera.cli.progress import TerminalProgress
from tessera.cli.values import FiniteRange
from tessera.errors import CommandError
from tessera.models.gguf import header_of, parts_of
from tessera.models.header import GgufHeader
from tessera.models.hub import HubId, remote_headers
from tessera.models.layers import KvType
from tessera.models.machine import Machine, measure_bandwidth, memory_bytes, tokens_per_s
from tessera.models.memory import ModelNeeds, measure_needs, show_gib
from tessera.settings import Settings

_SIZE = FiniteRange(0, 2**20)
_PACE = FiniteRange(0, 2**20, min_open=True)
_PASTS = (0, 4096, 32_768, 131_072, 262_144)
_KV_TYPES: tuple[KvType, ...] = ("f16", "q8_0")


@click.command()
@click.argument("model")
@click.option("--memory-gb", type=_SIZE, help="Memory of the machine in GiB; without it, that of this one.")
@click.option("--bandwidth-gb-s", type=_PACE, help="GB/s that its memory gives; without it, measured here.")
@click.option("--gpu-memory-gb", type=_SIZE, default=0.0, help="Memory of its GPU in GiB.")
@click.option("--gpu-bandwidth-gb-s", type=_PACE, help="GB/s that the GPU's memory gives.")
@with_settings("kv_cache_bytes", "state_bytes", "kv_type")
def plan(
    settings: Settings,
    model: str,
    memory_gb: float | None,
    bandwidth_gb_s: float | None,
    gpu_memory_gb: float,
    gpu_bandwidth_gb_s: float | None,
) -> None:
    """Show what memory MODEL needs and the most tokens per second that one reply can get.

    MODEL is a GGUF file or the id of one on a hub, of which only the header is read. Each token of a reply
    reads the weights that it uses and the keys and values of all tokens before it; the pace follows from what
    the memory gives. What an engine reaches in practice is up to a third less.
    """
    if gpu_memory_gb and not gpu_bandwidth_gb_s:
        raise CommandError("--gpu-memory-gb needs --gpu-bandwidth-gb-s, too.")
    needs = measure_needs(_headers(model))
    machine = Machine(
        memory_bytes=memory_bytes() if memory_gb is None else int(memory_gb * 2**30),
        bandwidth=measure_bandwidth() if bandwidth_gb_s is None else bandwidth_gb_s * 1e9,
        gpu_memory_bytes=int(gpu_memory_gb * 2**30),
        gpu_bandwidth=(gpu_bandwidth_gb_s or 0.0) * 1e9,
    )
    for line in _memory(needs, settings, machine) + _pace(needs, settings.kv_type, machine):
        click.echo(line)


def _headers(model: str) -> Sequence[GgufHeader]:
    path = Path(model).expanduser()
    if path.is_file():
        return [header_of(part) for part in parts_of(path)]
    if hub_id := HubId.parse(model):
        return remote_headers(hub_id, TerminalProgress())
    raise CommandError(f"{model} is neither a GGUF file nor the id of a model on a hub.")


def _memory(needs: ModelNeeds, settings: Settings, machine: Machine) -> list[str]:
    needed = needs.memory_bytes(settings.kv_cache_bytes, settings.state_bytes)
    has = machine.memory_bytes + machine.gpu_memory_bytes
    model = needs.model
    lines = [f"Weights\t{show_gib(model.weight_bytes)}"]
    if model.expert_bytes:
        lines.append(
            f"  of them experts\t{show_gib(model.expert_bytes)}, {needs.expert_share:.1%} for each token"
        )
    for kv_type in _KV_TYPES:
        if not (n_bytes := model.cell_bytes(kv_type)):
            continue
        n_tokens = settings.kv_cache_bytes // n_bytes
        whole = show_gib(n_bytes * needs.context_tokens)
        lines.append(
            f"KV cache, {kv_type}\t{n_bytes / 1024:,.1f} KiB for each token: kv_cache_bytes holds "
            f"{n_tokens:,}, the whole context of {needs.context_tokens:,} takes {whole}"
        )
    if model.state_bytes:
        lines.append(f"State\t{model.state_bytes / 2**20:,.1f} MiB for each sequence")
    verdict = "fits into" if needed <= has else "does not fit into"
    lines.append(f"Together\t{show_gib(needed)}, which {verdict} {show_gib(has)}")
    return lines


def _pace(needs: ModelNeeds, kv_type: KvType, machine: Machine) -> list[str]:
    gpu = f", {machine.gpu_bandwidth / 1e9:.0f} GB/s of the GPU" if machine.gpu_memory_bytes else ""
    lines = [f"At {machine.bandwidth / 1e9:.0f} GB/s{gpu}, the most that one reply can get:"]
    for n_past in _PASTS:
        if n_past < needs.context_tokens:
            read = needs.experts_read() + needs.others_read(n_past, kv_type)
            pace = tokens_per_s(needs, machine, n_past, kv_type)
            lines.append(f"  after {n_past:,} tokens\t{pace:,.1f} tokens/s ({read / 1e9:.2f} GB for each)")
    return lines
