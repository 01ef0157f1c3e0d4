"""`tessera keys`: the keys of accounts."""

from typing import Any

import click

from tessera.access.keys import KeyHasher
from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, show, show_one
from tessera.errors import OperatorError
from tessera.operator import actions
from tessera.operator.forms import KeyChanges, NewKey, read_models, read_time
from tessera.server.migrating import changing
from tessera.server.storage import actor, pepper
from tessera.settings import Settings

NEVER, ALL = "never", "all"
_OPENED = with_settings("database_url")
_NAME_HELP = "Name of the key, such as dev."
_EXPIRES_HELP = "Date (UTC) on which the key expires, such as 2030-12-31 or 2030-12-31T18:00:00"
_MODELS_HELP = "Models that the key may use, separated by commas"
_BURST_RPM = click.option(
    "--burst-rpm", type=click.IntRange(1), help="Requests per minute in bursts, until --burst-until."
)
_BURST_UNTIL = click.option("--burst-until", metavar="DATE", help="Date (UTC) on which --burst-rpm ends.")


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
@AS_JSON
@_OPENED
def create(
    settings: Settings,
    account: str,
    name: str,
    expires: str | None,
    models: str | None,
    burst_rpm: int | None,
    burst_until: str | None,
    as_json: bool,
) -> None:
    """Create a key for an account. Its secret is shown only now and is not stored."""
    sent = _sent(name, expires, models, burst_rpm, burst_until)
    hasher = KeyHasher(pepper(settings))
    with changing(settings) as store:
        row = actions.create_key(store, NewKey(account=account, **sent), hasher, by=actor())
    try:
        show_one(row, as_json)
    except OSError as error:
        revoking = f"Revoke it: tessera keys revoke {row['id']}"
        raise OperatorError(
            f"The key is made, but its secret cannot be shown: {error}. {revoking}"
        ) from error
    if not as_json:
        click.echo("This is the only time that the secret is shown.", err=True)


@keys.command("list")
@click.argument("account", required=False)
@AS_JSON
@_OPENED
def list_(settings: Settings, account: str | None, as_json: bool) -> None:
    """Show the keys of an account or, without ACCOUNT, of all accounts."""
    with changing(settings) as store:
        rows = actions.list_keys(store, account)
    show(rows, as_json, "No keys yet: tessera keys create ACCOUNT --name NAME.")


@keys.command("show")
@click.argument("id")
@AS_JSON
@_OPENED
def show_(settings: Settings, id: str, as_json: bool) -> None:
    """Show one key."""
    with changing(settings) as store:
        row = actions.show_key(store, id)
    show_one(row, as_json)


@keys.command()
@click.argument("id")
@AS_JSON
@_OPENED
def revoke(settings: Settings, id: str, as_json: bool) -> None:
    """Revoke a key permanently; this takes effect within 30 seconds."""
    with changing(settings) as store:
        row = actions.revoke_key(store, id, by=actor())
    show_one(row, as_json)


@keys.command()
@click.argument("id")
@click.option("--name", help=_NAME_HELP)
@click.option("--expires", metavar="DATE", help=f"{_EXPIRES_HELP}, or {NEVER}.")
@click.option("--models", metavar="NAMES", help=f"{_MODELS_HELP}, or {ALL}.")
@_BURST_RPM
@_BURST_UNTIL
@click.option("--no-burst", is_flag=True, help="End --burst-rpm now.")
@AS_JSON
@_OPENED
def update(
    settings: Settings,
    id: str,
    name: str | None,
    expires: str | None,
    models: str | None,
    burst_rpm: int | None,
    burst_until: str | None,
    no_burst: bool,
    as_json: bool,
) -> None:
    """Change a key; only the given options change. This takes effect within 30 seconds."""
    ended: dict[str, Any] = {"burst_rpm": None, "burst_until_s": None} if no_burst else {}
    changes = KeyChanges(**ended | _sent(name, expires, models, burst_rpm, burst_until))
    with changing(settings) as store:
        row = actions.change_key(store, id, changes, by=actor())
    show_one(row, as_json)


def _sent(
    name: str | None,
    expires: str | None,
    models: str | None,
    burst_rpm: int | None,
    burst_until: str | None,
) -> dict[str, Any]:
    """The fields of the form that options were given for."""
    sent: dict[str, Any] = {}
    if name is not None:
        sent["name"] = name
    if expires is not None:
        sent["expires_s"] = None if expires == NEVER else read_time(expires, "--expires")
    if models is not None:
        sent["models"] = None if models == ALL else read_models(models)
    if burst_rpm is not None:
        sent["burst_rpm"] = burst_rpm
    if burst_until is not None:
        sent["burst_until_s"] = read_time(burst_until, "--burst-until")
    return sent
