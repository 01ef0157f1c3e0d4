"""`tessera engines`: what computes, and on what."""

from pathlib import Path

import click

from tessera.cli.options import with_settings
from tessera.cli.progress import TerminalProgress
from tessera.engine.llamacpp.install import (
    Backend,
    describe_library,
    install_link,
    installed_library,
)
from tessera.engine.llamacpp.install import (
    install as install_library,
)
from tessera.engine.llamacpp.library import Device, Library
from tessera.engine.registry import ENGINES
from tessera.errors import CommandError, StartupError
from tessera.models.memory import show_gib
from tessera.settings import Settings

LLAMACPP = "llamacpp"


@click.group()
def engines() -> None:
    """List engines, and install the library that one of them needs."""


@engines.command("list")
@with_settings("llama_library")
def list_(settings: Settings) -> None:
    """Show every engine, the library that it uses, and the devices that it finds."""
    for name in ENGINES:
        if name != LLAMACPP:
            click.echo(f"{name}\tready\tcpu")
            continue
        try:
            _show(describe_library(settings.llama_library or installed_library()))
        except StartupError as error:
            click.echo(f"{name}\tmissing\t{error.message}")


@engines.command()
@click.argument("engine", type=click.Choice([LLAMACPP]))
@click.option("--cuda", "backend", flag_value="cuda", help="Build for NVIDIA's GPUs; needs the CUDA toolkit.")
@click.option("--metal", "backend", flag_value="metal", help="Build for Apple's GPUs.")
@click.option("--vulkan", "backend", flag_value="vulkan", help="Build for GPUs with Vulkan; needs its SDK.")
@click.option(
    "--library",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Use this library, such as libllama.so, in place of one that is built or fetched.",
)
def install(engine: str, backend: Backend | None, library: Path | None) -> None:
    """Get the library that ENGINE needs, check it, and show the devices that it finds.

    With a C++ compiler and cmake it is built for this machine; without them a finished one is fetched.
    """
    if library is not None and backend is not None:
        raise CommandError(f"--library brings a library that is built already: leave out --{backend}.")
    _show(install_link(library) if library else install_library(backend, TerminalProgress()))


def _show(library: Library) -> None:
    click.echo(f"{LLAMACPP}\tready\t{library.name} {library.version}\t{library.path}")
    for device in library.devices:
        click.echo(f"\t{_describe(device)}")
    click.echo(f"\tbuilt for {', '.join(library.features) or 'any processor'}")


def _describe(device: Device) -> str:
    memory = f", {show_gib(device.total_bytes)}" if device.total_bytes else ""
    return f"{device.kind} {device.name}: {device.description}{memory}"
