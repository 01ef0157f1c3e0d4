"""`tessera serve`: a model behind OpenAI's API."""

import click

from tessera.cli.options import with_settings
from tessera.cli.progress import TerminalProgress
from tessera.server.parent import run_service
from tessera.settings import Settings


@click.command()
@with_settings()
def serve(settings: Settings) -> None:
    """Serve a model behind OpenAI's API.

    The first start fetches and converts the model; later ones need no network. When the server is ready, it
    prints a line `export TESSERA_API_KEY=…`, unless that variable is already set.
    """
    run_service(settings, TerminalProgress())
