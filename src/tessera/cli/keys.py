"""`tessera keys`: the keys of accounts."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import click

from tessera.access.keys import Seal, generate_key
from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, Row, show, show_one
from tessera.cli.storage import actor, changing, pepper
from tessera.errors import OperatorError
from tessera.settings import Settings
from tessera.store import accounts as book
from tessera.store import keys as ring
from tessera.store.keys import Key, Terms

NEVER, ALL = "never", "all"
_OPENED = with_settings("database_url")
_NAME_HELP = "What it is called, such as dev."
_EXPIRES_HELP = "Date (UTC) on which it ends, as 2030-12-31 or 2030-12-31T18:00:00"
_MODELS_HELP = "The models that it may use, separated by commas"
_BURST_RPM = click.option(
    "--burst-rpm", type=click.IntRange(1), help="Requests a minute in bursts, for a while."
)
_BURST_UNTIL = click.option("--burst-until", metavar="DATE", help="Date (UTC) on which --burst-rpm ends.")


@click.group()
def keys() -> None:
    """Make, list, change and revoke API keys. ACCOUNT is a name or an id, ID a key's id."""


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
    """Make a key for an account. Its secret is shown once, now, and kept nowhere."""
    terms = _changed(Terms(name), None, expires, models, burst_rpm, burst_until)
    secret = generate_key()
    digest = Seal(pepper(settings)).digest(secret)
    with changing(settings) as store:
        owner = book.find(store, account)
        key = ring.create(store, owner, terms, digest=digest, last4=secret[-4:], by=actor())
    show_one({"id": key.id, "secret": secret, "account": owner.name, **_row(key)}, as_json)
    if not as_json:
        click.echo("This is the only time that the secret is shown.", err=True)


@keys.command("list")
@click.argument("account", required=False)
@AS_JSON
@_OPENED
def list_(settings: Settings, account: str | None, as_json: bool) -> None:
    """Show the keys of an account, without ACCOUNT those of all."""
    with changing(settings) as store:
        owner_id = None if account is None else book.find(store, account).id
        names = {owner.id: owner.name for owner in book.everyone(store)}
        found = ring.of_account(store, owner_id)
    rows = [{"id": key.id, "account": names[key.account_id], **_row(key)} for key in found]
    show(rows, as_json, "No keys yet: tessera keys create ACCOUNT --name NAME.")


@keys.command("show")
@click.argument("id")
@AS_JSON
@_OPENED
def show_(settings: Settings, id: str, as_json: bool) -> None:
    """Show one key."""
    with changing(settings) as store:
        key = ring.find(store, id)
        owner = book.find(store, key.account_id)
    show_one({"id": key.id, "account": owner.name, **_row(key)}, as_json)


@keys.command()
@click.argument("id")
@AS_JSON
@_OPENED
def revoke(settings: Settings, id: str, as_json: bool) -> None:
    """End a key for good, within 30 seconds."""
    with changing(settings) as store:
        key = ring.revoke(store, id, by=actor())
        owner = book.find(store, key.account_id)
    show_one({"id": key.id, "account": owner.name, **_row(key)}, as_json)


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
    """Change a key; what is not named stays. It acts within 30 seconds."""
    with changing(settings) as store:
        terms = ring.find(store, id).terms
        if no_burst:
            terms = replace(terms, burst_rpm=None, burst_until_s=None)
        terms = _changed(terms, name, expires, models, burst_rpm, burst_until)
        key = ring.update(store, id, terms, by=actor())
        owner = book.find(store, key.account_id)
    show_one({"id": key.id, "account": owner.name, **_row(key)}, as_json)


def _changed(
    terms: Terms,
    name: str | None,
    expires: str | None,
    models: str | None,
    burst_rpm: int | None,
    burst_until: str | None,
) -> Terms:
    """With what was given; None was not."""
    if name is not None:
        terms = replace(terms, name=name)
    if expires is not None:
        terms = replace(terms, expires_s=None if expires == NEVER else _date("--expires", expires))
    if models is not None:
        chosen = tuple(model.strip() for model in models.split(","))
        terms = replace(terms, models=None if models == ALL else chosen)
    if burst_rpm is not None:
        terms = replace(terms, burst_rpm=burst_rpm)
    if burst_until is not None:
        terms = replace(terms, burst_until_s=_date("--burst-until", burst_until))
    return terms


def _date(option: str, text: str) -> float:
    """Unix seconds of a date that is to come."""
    try:
        date = datetime.fromisoformat(text)
    except ValueError as error:
        raise OperatorError(f"{option} {text} is no date: send one as 2030-12-31.") from error
    at_s = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    if at_s <= time.time():
        raise OperatorError(f"{option} {text} is over: send a date that is to come.")
    return at_s


def _row(key: Key) -> Row:
    """All but the id and the account's name, which go first."""
    terms = key.terms
    return {
        "name": terms.name,
        "state": key.state(time.time()),
        "last4": key.last4,
        "account_id": key.account_id,
        "created_s": key.created_s,
        "last_used_s": key.last_used_s,
        "expires_s": terms.expires_s,
        "revoked_s": key.revoked_s,
        "models": terms.models,
        "burst_rpm": terms.burst_rpm,
        "burst_until_s": terms.burst_until_s,
    }
