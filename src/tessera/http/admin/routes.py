"""The admin API: what the commands do with accounts, keys, usage and the audit, over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.access.keys import KeyHasher
from tessera.access.tiers import Tiers
from tessera.http.admin.app import peer
from tessera.http.body import read_body
from tessera.http.limits import BodyLimits
from tessera.operator import actions, forms
from tessera.store.database import Database, Transaction, transaction

F = TypeVar("F", bound=forms.Form)
Q = TypeVar("Q", bound=forms.Query)
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

LIMITS = BodyLimits(max_body_bytes=64 * 1024, body_deadline_s=30.0)
_AT_ONCE = 2
"""Threads. They are of the pool that the whole process shares."""


class AdminDatabase:
    """Runs the work of each request in a transaction, in a thread; `_AT_ONCE` of them at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def answer(self, work: Callable[[Transaction], object], status: int = 200) -> Response:
        """The result of `work` as JSON; raises `OperatorError` or `StoreUnavailable`."""
        async with self._at_once:
            shown = await asyncio.to_thread(self._transact, work)
        # The secret of a new key may be in the answer.
        headers = {"Cache-Control": "no-store"}
        return Response(msgspec.json.encode(shown), status, headers, "application/json")

    def _transact(self, work: Callable[[Transaction], object]) -> object:
        with transaction(self._database) as changes:
            return work(changes)


def admin_routes(database: Database, tiers: Tiers, hasher: KeyHasher) -> list[Route]:
    """All routes of the admin API."""
    answering = AdminDatabase(database)
    return [
        *_account_routes(answering, tiers),
        *_key_routes(answering, hasher),
        *_report_routes(answering),
    ]


def _account_routes(database: AdminDatabase, tiers: Tiers) -> list[Route]:
    async def list_accounts(request: Request) -> Response:
        return await database.answer(actions.list_accounts)

    async def create(request: Request) -> Response:
        form = await _form(forms.NewAccount, request)
        return await database.answer(
            lambda changes: actions.create_account(changes, form, tiers, by=_actor(request)), 201
        )

    async def show(request: Request) -> Response:
        return await database.answer(lambda changes: actions.show_account(changes, _named(request)))

    async def change(request: Request) -> Response:
        form = await _form(forms.AccountChanges, request)
        return await database.answer(
            lambda changes: actions.change_account(changes, _named(request), form, tiers, by=_actor(request))
        )

    return [
        _route("/admin/accounts", GET=list_accounts, POST=create),
        _route("/admin/accounts/{named:path}", GET=show, PATCH=change),  # a name may hold slashes
    ]


def _key_routes(database: AdminDatabase, hasher: KeyHasher) -> list[Route]:
    async def list_keys(request: Request) -> Response:
        query = _query(forms.KeysQuery, request)
        return await database.answer(lambda changes: actions.list_keys(changes, query.account))

    async def create(request: Request) -> Response:
        form = await _form(forms.NewKey, request)
        return await database.answer(
            lambda changes: actions.create_key(changes, form, hasher, by=_actor(request)), 201
        )

    async def show(request: Request) -> Response:
        return await database.answer(lambda changes: actions.show_key(changes, _named(request)))

    async def change(request: Request) -> Response:
        form = await _form(forms.KeyChanges, request)
        return await database.answer(
            lambda changes: actions.change_key(changes, _named(request), form, by=_actor(request))
        )

    async def revoke(request: Request) -> Response:
        return await database.answer(
            lambda changes: actions.revoke_key(changes, _named(request), by=_actor(request))
        )

    return [
        _route("/admin/keys", GET=list_keys, POST=create),
        _route("/admin/keys/{named}", GET=show, PATCH=change),
        _route("/admin/keys/{named}/revoke", POST=revoke),
    ]


def _report_routes(database: AdminDatabase) -> list[Route]:
    async def usage(request: Request) -> Response:
        query = _query(forms.UsageQuery, request)
        return await database.answer(lambda changes: actions.add_up(changes, query))

    async def audit(request: Request) -> Response:
        query = _query(forms.AuditQuery, request)
        return await database.answer(lambda changes: actions.show_audit(changes, query))

    return [_route("/admin/usage", GET=usage), _route("/admin/audit", GET=audit)]


def _route(path: str, **by_method: Endpoint) -> Route:
    """One route for all methods of a path, so that a 405 names all of them."""

    async def endpoint(request: Request) -> Response:
        return await by_method["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, endpoint, methods=list(by_method))


async def _form(kind: type[F], request: Request) -> F:
    return forms.read_form(kind, await read_body(request.scope, request.receive, LIMITS))


def _query(kind: type[Q], request: Request) -> Q:
    return forms.read_query(kind, request.query_params)


def _named(request: Request) -> str:
    """The account's name or id, or the key's id, in the path."""
    return str(request.path_params["named"])


def _actor(request: Request) -> str:
    """The actor of the audit."""
    return f"admin:{peer(request.scope)}"
