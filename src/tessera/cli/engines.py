"""`tessera engines`: lists engines with their devices, and installs what some of them need."""

from collections.abc import Callable, Mapping
from pathlib import Path

import click

from tessera.cli.options import with_settings
from tessera.cli.progress import TerminalProgress
from tessera.engine.llamacpp import install as llamacpp
from tessera.engine.llamacpp.library import Device, Library
from tessera.engine.registry import ENGINES
from tessera.engine.row import EngineRow, Hosted
from tessera.engine.vllm import install as vllm
from tessera.errors import CommandError, StartupError
from tessera.models.memory import show_gib
from tessera.settings import Settings

LLAMACPP, VLLM = "llamacpp", "vllm"


@click.group()
def engines() -> None:
    """List engines, and install what some of them need."""


@engines.command("list")
@with_settings("llama_library", "engine_python")
def list_(settings: Settings) -> None:
    """Show every engine, its version, the devices that it finds, and what it can do."""
    for name, row in ENGINES.items():
        try:
            _LISTED.get(name, _list_ready)(name, settings)
        except StartupError as error:
            click.echo(f"{name}\tmissing\t{error.message}")
        if features := _features(row):
            click.echo(f"\tcan do {features}")


@engines.command()
@click.argument("engine", type=click.Choice([LLAMACPP, VLLM]))
@click.option(
    "--cuda", "backend", flag_value="cuda", help="For NVIDIA's GPUs. llamacpp: needs the CUDA toolkit."
)
@click.option("--metal", "backend", flag_value="metal", help="llamacpp: for Apple's GPUs.")
@click.option(
    "--vulkan", "backend", flag_value="vulkan", help="llamacpp: for GPUs with Vulkan; needs its SDK."
)
@click.option(
    "--cpu", "backend", flag_value="cpu", help="For the processor. vllm: without it, for NVIDIA's GPUs."
)
@click.option(
    "--library",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="llamacpp: use this library, such as libllama.so, in place of one that is built or fetched.",
)
def install(engine: str, backend: str | None, library: Path | None) -> None:
    """Get what ENGINE needs, check it, and show the devices that it finds.

    For llamacpp that is a library: with a C++ compiler and cmake it is built for this machine; without them a
    finished one is fetched. For vllm it is a virtual environment of its own, of several gigabytes.
    """
    if engine == VLLM:
        if library is not None or backend in ("metal", "vulkan"):
            raise CommandError("vllm is installed for NVIDIA's GPUs or, with --cpu, for the processor.")
        _show_vllm(vllm.install(TerminalProgress(), for_processors=backend == "cpu"))
        return
    if library is not None and backend is not None:
        raise CommandError(f"--library brings a library that is built already: leave out --{backend}.")
    if library is not None:
        _show(llamacpp.install_link(library))
        return
    chosen = _LLAMA_BACKENDS[backend or "cpu"]
    _show(llamacpp.install(chosen, TerminalProgress()))


_LLAMA_BACKENDS: Mapping[str, llamacpp.Backend | None] = {
    "cpu": None,
    "cuda": "cuda",
    "metal": "metal",
    "vulkan": "vulkan",
}


def _list_ready(name: str, settings: Settings) -> None:
    click.echo(f"{name}\tready\tcpu")


def _list_llamacpp(name: str, settings: Settings) -> None:
    _show(llamacpp.describe_library(settings.llama_library or llamacpp.installed_library()))


def _list_vllm(name: str, settings: Settings) -> None:
    _show_vllm(vllm.describe(settings.engine_python or vllm.installed_python()))


_LISTED: Mapping[str, Callable[[str, Settings], None]] = {LLAMACPP: _list_llamacpp, VLLM: _list_vllm}


def _features(row: EngineRow) -> str:
    return ", ".join(sorted(row.runs.features)) if isinstance(row.runs, Hosted) else ""


def _show(library: Library) -> None:
    click.echo(f"{LLAMACPP}\tready\t{library.name} {library.version}\t{library.path}")
    for device in library.devices:
        click.echo(f"\t{_describe(device)}")
    click.echo(f"\tbuilt for {', '.join(library.features) or 'any processor'}")


def _show_vllm(found: vllm.VllmInstallation) -> None:
    click.echo(f"{VLLM}\tready\t{found.package} {found.version}\t{found.python}")
    for device in found.devices:
        click.echo(f"\tgpu {device.name}, {show_gib(device.total_bytes)}")
    if not found.devices:
        click.echo("\tcpu" if found.for_processors else "\tno GPU is found here, and it needs one")


def _describe(device: Device) -> str:
    memory = f", {show_gib(device.total_bytes)}" if device.total_bytes else ""
    return f"{device.kind} {device.name}: {device.description}{memory}"
