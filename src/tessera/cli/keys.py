"""`tessera keys`: the keys of accounts."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import click

from tessera.access.keys import KeyHasher
from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, name_store, show, shows_rows
from tessera.cli.values import read_numbers
from tessera.core.budgets import BUDGETS
from tessera.errors import OperatorError
from tessera.operator import actions
from tessera.operator.forms import KeyChanges, KeysQuery, NewKey, read_models, read_time
from tessera.operator.rows import Row
from tessera.server.migrating import changing
from tessera.server.storage import actor, former_pepper, pepper
from tessera.settings import Settings
from tessera.store.database import Transaction

NEVER, ALL, NO_BUDGET = "never", "all", "none"
Option: TypeAlias = str | int | tuple[str, ...] | None

_NAME_HELP = "Name of the key, such as dev."
_EXPIRES_HELP = "Date (UTC) on which the key expires, such as 2030-12-31 or 2030-12-31T18:00:00"
_MODELS_HELP = "Models that the key may use, separated by commas"
_BURST_RPM = click.option(
    "--burst-rpm", type=click.IntRange(1), help="Requests per minute in bursts, until --burst-until."
)
_BURST_UNTIL = click.option("--burst-until", metavar="DATE", help="Date (UTC) on which --burst-rpm ends.")

_BUDGET = click.option(
    "--budget",
    multiple=True,
    metavar="BUDGET=TOKENS",
    help=f"A budget of the key, such as total_tokens_per_day=50000; {NO_BUDGET} ends it. "
    f"Budgets are {', '.join(BUDGETS)}.",
)


def _read_budgets(given: tuple[str, ...]) -> dict[str, int | None]:
    budgets: dict[str, int | None] = {}
    for name, value in read_numbers(given, NO_BUDGET).items():
        if isinstance(value, str):
            raise OperatorError(f"{name} is {value[:50]!r}: give a number of tokens, or {NO_BUDGET}.")
        budgets[name] = value
    return budgets


# The field of the form that each option fills in, and how its text is read.
_FIELDS: Mapping[str, tuple[str, Callable[[Any], object]]] = {
    "name": ("name", str),
    "expires": ("expires_s", lambda text: None if text == NEVER else read_time(text, "--expires")),
    "models": ("models", lambda text: None if text == ALL else read_models(text)),
    "burst_rpm": ("burst_rpm", int),
    "burst_until": ("burst_until_s", lambda text: read_time(text, "--burst-until")),
    "budget": ("budgets", _read_budgets),
}


@click.group()
def keys() -> None:
    """Create, list, change and revoke API keys. ACCOUNT is a name or an id, and ID is the id of a key."""


@keys.command()
@click.argument("account")
@click.option("--name", required=True, help=_NAME_HELP)
@click.option("--expires", metavar="DATE", help=f"{_EXPIRES_HELP}; without it, never.")
@click.option("--models", metavar="NAMES", help=f"{_MODELS_HELP}; without it, all.")
@_BURST_RPM
@_BURST_UNTIL
@_BUDGET
@AS_JSON
@with_settings("database_url")
def create(settings: Settings, account: str, as_json: bool, **terms: Option) -> None:
    """Create a key for an account. Its secret is shown only now and is not stored."""
    form = NewKey(account=account, **_sent(terms))
    hasher = KeyHasher(pepper(settings, makes_key=True), former_pepper(settings))
    with changing(settings) as store:
        row = actions.create_key(store, form, hasher, by=actor())
    name_store(settings)
    try:
        show(row, as_json)
    except OSError as error:
        revoking = f"Revoke it: tessera keys revoke {row['id']}"
        raise OperatorError(
            f"The key is made, but its secret cannot be shown: {error}. {revoking}"
        ) from error
    if not as_json:
        click.echo("This is the only time that the secret is shown.", err=True)


@keys.command("list")
@click.argument("account", required=False)
@shows_rows("No keys yet: tessera keys create ACCOUNT --name NAME.", checks_pepper=True)
def list_(settings: Settings, store: Transaction, account: str | None) -> Sequence[Row]:
    """Show the keys of an account or, without ACCOUNT, of all accounts."""
    return actions.list_keys(store, KeysQuery(account=account)).rows


@keys.command("show")
@click.argument("id")
@shows_rows(checks_pepper=True)
def show_(settings: Settings, store: Transaction, id: str) -> Row:
    """Show one key."""
    return actions.show_key(store, id)


@keys.command()
@click.argument("id")
@shows_rows(writes=True, checks_pepper=True)
def revoke(settings: Settings, store: Transaction, id: str) -> Row:
    """Revoke a key permanently; this takes effect within 30 seconds."""
    return actions.revoke_key(store, id, by=actor())


@keys.command()
@click.argument("id")
@click.option("--name", help=_NAME_HELP)
@click.option("--expires", metavar="DATE", help=f"{_EXPIRES_HELP}, or {NEVER}.")
@click.option("--models", metavar="NAMES", help=f"{_MODELS_HELP}, or {ALL}.")
@_BURST_RPM
@_BURST_UNTIL
@_BUDGET
@click.option("--no-burst", is_flag=True, help="End --burst-rpm now.")
@shows_rows(writes=True, checks_pepper=True)
def update(settings: Settings, store: Transaction, id: str, no_burst: bool, **terms: Option) -> Row:
    """Change a key; only the given options change. This takes effect within 30 seconds."""
    ended: dict[str, Any] = {"burst_rpm": None, "burst_until_s": None} if no_burst else {}
    return actions.change_key(store, id, KeyChanges(**ended | _sent(terms)), by=actor())


def _sent(terms: Mapping[str, Option]) -> dict[str, Any]:
    """The fields of the form whose options were given."""
    return {
        field: read(terms[option])
        for option, (field, read) in _FIELDS.items()
        if terms[option] not in (None, ())
    }
