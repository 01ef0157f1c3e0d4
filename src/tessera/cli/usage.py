"""`tessera usage`: what was used, added up, as a table or for programs."""

import sys
from pathlib import Path
from typing import Literal, get_args

import click

from tessera.cli.options import with_settings
from tessera.cli.rows import show
from tessera.errors import OperatorError
from tessera.operator import actions
from tessera.operator.files import written
from tessera.operator.forms import Format, UsageQuery, read_groups
from tessera.server.migrating import changing
from tessera.settings import Settings
from tessera.wire.usage import read_day


@click.command()
@click.option("--account", metavar="NAME", help="Only this account, by name or id.")
@click.option("--key", metavar="ID", help="Only this key.")
@click.option("--since", metavar="DAY", help="First day in UTC, such as 2026-01-31.")
@click.option("--until", metavar="DAY", help="Last day in UTC, included.")
@click.option(
    "--by",
    multiple=True,
    default=["day"],
    show_default=True,
    help="Group rows by day, account, key or model, or by several of them.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", *get_args(Format)]),
    default="table",
    show_default=True,
    help="How the report is written.",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@with_settings("database_url")
def usage(
    settings: Settings,
    account: str | None,
    key: str | None,
    since: str | None,
    until: str | None,
    by: tuple[str, ...],
    form: Literal["table"] | Format,
    as_json: bool,
    output: Path | None,
) -> None:
    """Report the number of requests and their tokens. Rejected requests are not included."""
    form = "json" if as_json else form
    if form == "table" and output:
        raise OperatorError("--output needs --format json, csv or parquet.")
    first, last = _day(since, "--since"), _day(until, "--until")
    groups = read_groups(",".join(by), "--by")
    with changing(settings) as store:
        report = actions.add_up(
            store, UsageQuery(account=account, key=key, since=first, until=last, by=",".join(by))
        )
    if form == "table":
        last_row = {**dict.fromkeys(groups, ""), groups[0]: "total", **report.totals}
        show([*report.rows, last_row] if report.rows else [], False, "No usage yet.")
        return
    _deliver(written(report, groups, form), output, is_text=form != "parquet")


def _day(asked: str | None, option: str) -> str | None:
    return None if asked is None else read_day(asked, option)


def _deliver(content: bytes, output: Path | None, *, is_text: bool) -> None:
    if output is None:
        if not is_text and sys.stdout.isatty():
            raise OperatorError("Parquet cannot be shown on a terminal: name a file with --output.")
        click.echo(content, nl=False)
        return
    try:
        output.write_bytes(content)
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}.") from error
