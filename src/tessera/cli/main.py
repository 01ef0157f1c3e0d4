"""`tessera`: the table of commands, and how their errors are shown. A command is imported when it is used."""

import errno
import importlib
import sys
from collections.abc import Mapping
from io import TextIOWrapper

import click

from tessera import __version__
from tessera.errors import CommandError, ModelError, StartupError, TesseraError

COMMANDS: Mapping[str, str] = {
    "serve": "Serve a model behind OpenAI's API.",
    "deploy": "Run the service on a cluster of Ray.",
    "accounts": "Create, list and change accounts.",
    "keys": "Create, list, change and revoke API keys.",
    "store": "Upgrade the store of accounts, and check it.",
    "audit": "Show who changed accounts and keys, and when.",
    "requests": "List and cancel the requests that a server is answering.",
    "usage": "Report what accounts, keys and models have used.",
    "models": "List, fetch, verify and remove cached models.",
    "engines": "List engines, and install what some of them need.",
    "plan": "Show what memory a model needs, and how fast it can be.",
    "chat": "Chat with a running server in the terminal.",
    "bench": "Measure how fast a server on this machine answers.",
    "inspect": "Show how a request is processed: segments, tokens, events.",
}


class Unusable(click.ClickException):
    """The command cannot do what it was given: a wrong setting, a model or a server that is not there."""

    exit_code = 2


class Commands(click.Group):
    """A group whose commands live in modules of their names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"tessera.cli.{cmd_name}"), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error that is meant for the operator becomes a line, not a traceback."""
        stdout: object = sys.stdout
        if isinstance(stdout, TextIOWrapper):  # a character that the terminal lacks must not end the command
            stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except (StartupError, ModelError, CommandError) as error:
            raise Unusable(error.message) from error
        except TesseraError as error:
            raise click.ClickException(error.message) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # nobody reads the output any more: click ends the command
                raise
            raise Unusable(
                f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."
            ) from error


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tessera")
def main() -> None:
    """Chat completions with open models, on your own machine.

    `tessera serve` starts the server. Every command has its own --help.
    """
