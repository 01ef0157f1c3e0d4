"""Flags of commands, made from the table of settings."""

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from tessera.configuration import load
from tessera.kinds import SWITCH, show_size
from tessera.settings import ROWS, Row

F = TypeVar("F", bound=Callable[..., Any])


def with_settings(*names: str) -> Callable[[F], F]:
    """Give the command a flag for each of these settings (all if none is named). Its function gets the loaded
    `settings`.
    """
    rows = [row for row in ROWS if not row.secret and (not names or row.name in names)]

    def decorate(command: F) -> F:
        @wraps(command)
        def run(*, config: Path | None, **given: object) -> object:
            flags = {row.name: str(value) for row in rows if (value := given.pop(row.name)) is not None}
            return command(settings=load(flags, os.environ, config), **given)

        decorated: Any = run
        for row in reversed(rows):
            decorated = _option(row)(decorated)
        where = click.Path(exists=True, dir_okay=False, path_type=Path)
        about = (
            "TOML file with settings; without it, /etc/tessera/tessera.toml or else the user's "
            "~/.config/tessera/tessera.toml.  [env: TESSERA_CONFIG]"
        )
        return click.option("--config", type=where, help=about)(decorated)

    return decorate


def _option(row: Row) -> Callable[[F], F]:
    about = f"{row.help}  [env: {row.variable}{_default(row)}]"
    if row.kind is SWITCH:
        return click.option(f"{row.flag}/--no-{row.flag.removeprefix('--')}", default=None, help=about)
    return click.option(row.flag, metavar="VALUE", help=about)


def _default(row: Row) -> str:
    match row.default:
        case None | False | ():
            return ""
        case tuple():
            return f"; default: {','.join(cast('tuple[str, ...]', row.default))}"
        case int(n_bytes) if row.name.endswith("_bytes"):
            return f"; default: {show_size(n_bytes)}"
        case default:
            return f"; default: {default}"
