"""`tessera requests`: the chat requests that a running server is answering, and how one of them is ended."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import click
import httpx2
import msgspec

from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, show
from tessera.cli.values import authorization, plain
from tessera.errors import CommandError
from tessera.operator.rows import Row
from tessera.settings import Settings
from tessera.urls import with_path

_ANY_ADDRESS: Mapping[str, str] = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_URL = click.option(
    "--url",
    help="URL of the admin listener, with or without /admin; without it, the one of the settings, on this "
    "machine.",
)


class _AdminError(msgspec.Struct):
    message: str


class _AdminAnswer(msgspec.Struct):
    requests: list[dict[str, Any]] | None = None
    error: _AdminError | None = None


@click.group()
def requests() -> None:
    """List and cancel running requests, by the admin API. The key is TESSERA_ADMIN_KEY."""


@requests.command("list")
@_URL
@AS_JSON
@with_settings("admin_host", "admin_port")
def list_(settings: Settings, url: str | None, as_json: bool) -> None:
    """Show the requests that are being answered, by all API processes."""
    rows = sorted(_ask(settings, url, "GET", "/requests"), key=lambda row: str(row["request_id"]))
    show(rows, as_json, "No requests are running.")


@requests.command()
@click.argument("id")
@_URL
@AS_JSON
@with_settings("admin_host", "admin_port")
def cancel(settings: Settings, url: str | None, as_json: bool, id: str) -> None:
    """End a request with an error. ID is its id or its request id; all requests of that request id end."""
    show(_ask(settings, url, "POST", f"/requests/{quote(id, safe='')}/cancel"), as_json)


def _ask(settings: Settings, url: str | None, method: str, path: str) -> Sequence[Row]:
    """The requests in the answer; raises `CommandError`."""
    if settings.admin_key is None:
        raise CommandError("The admin API needs its key: set TESSERA_ADMIN_KEY, or admin_key in the file.")
    whole = with_path(url or _own_url(settings), "/admin") + path
    try:
        reply = httpx2.request(method, whole, headers=authorization(settings.admin_key), timeout=30)
    except httpx2.HTTPError as error:
        raise CommandError(f"No admin API answers at {whole}: {plain(error)}.") from error
    answer = _AdminAnswer()
    with suppress(msgspec.DecodeError):  # another program answered
        answer = msgspec.json.decode(reply.content, type=_AdminAnswer)
    if answer.error:
        raise CommandError(f"The server answered {reply.status_code}: {answer.error.message}")
    if answer.requests is None:
        raise CommandError(
            f"What answers at {whole} is not the admin API: its status is {reply.status_code}. Check --url."
        )
    return answer.requests


def _own_url(settings: Settings) -> str:
    if settings.admin_port is None:
        raise CommandError("Where is the admin listener? Set TESSERA_ADMIN_PORT, or give its --url.")
    host = _ANY_ADDRESS.get(settings.admin_host, settings.admin_host)
    return f"http://[{host}]:{settings.admin_port}" if ":" in host else f"http://{host}:{settings.admin_port}"
