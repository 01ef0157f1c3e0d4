"""`tessera models`: lists, fetches, verifies and removes the models of the cache."""

import dataclasses

import click

from tessera.cli.options import with_settings
from tessera.cli.progress import TerminalProgress
from tessera.errors import CommandError
from tessera.models.cache import Cache, CachedModel
from tessera.models.manifest import Damaged
from tessera.server.models import open_cache, prepare_models
from tessera.settings import Settings


@click.group()
def models() -> None:
    """List, fetch, verify and remove cached models."""


@models.command("list")
@with_settings("cache_dir")
def list_(settings: Settings) -> None:
    """Show the name, size, origin and folder of every cached model."""
    cache = open_cache(settings)
    entries = cache.entries()
    for entry in entries:
        size = f"{entry.size_bytes / 2**20:,.0f} MiB"
        click.echo(f"{entry.name}\t{size}\t{entry.manifest.origin}\t{entry.path}")
    if not entries:
        click.echo(f"No models in {cache.root} yet.", err=True)


@models.command()
@click.argument("model", required=False)
@with_settings("cache_dir", "offline")
def pull(settings: Settings, model: str | None) -> None:
    """Fetch and convert MODEL, a hub id or a GGUF file; without it, the configured or the embedded model.

    Prints the folder that `tessera serve` would serve.
    """
    named = dataclasses.replace(settings, model=model, models=None) if model else settings
    for plan in prepare_models(named, TerminalProgress()):
        click.echo(plan.source.path)


@models.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@with_settings("cache_dir")
def verify(settings: Settings, names: tuple[str, ...]) -> None:
    """Check every file of the named models, or of all models, against its hash."""
    n_damaged = 0
    for entry in _chosen(open_cache(settings), names):
        try:
            with TerminalProgress().stage(f"Reading {entry.name}"):
                entry.verify()
            click.echo(f"{entry.name}\twhole")
        except Damaged as damage:
            n_damaged += 1
            click.echo(f"{entry.name}\tdamaged: {damage.message}")
    if n_damaged:
        raise CommandError(f"{n_damaged} damaged: remove and pull them again.")


@models.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@with_settings("cache_dir")
def remove(settings: Settings, names: tuple[str, ...]) -> None:
    """Delete models by the names that `list` shows."""
    cache = open_cache(settings)
    for entry in _chosen(cache, names):
        cache.remove(entry.name, TerminalProgress())
        click.echo(f"Removed {entry.name}.")


def _chosen(cache: Cache, names: tuple[str, ...]) -> list[CachedModel]:
    entries = {entry.name: entry for entry in cache.entries()}
    if unknown := [name for name in names if name not in entries]:
        known = ", ".join(entries) or "none"
        raise CommandError(f"{', '.join(unknown)} is not in the cache; there are: {known}.")
    return [entries[name] for name in names or entries]
