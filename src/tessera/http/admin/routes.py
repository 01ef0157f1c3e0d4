"""The admin API: what the commands do with accounts, keys, usage and the audit, over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.access.keys import Seal
from tessera.access.tiers import Tiers
from tessera.http.admin.app import peer
from tessera.http.body import read_body
from tessera.http.limits import HttpLimits
from tessera.operator import actions as desk
from tessera.operator import forms
from tessera.store.opening import Changes, Store, transaction

F = TypeVar("F", bound=forms.Form)
Q = TypeVar("Q", bound=forms.Query)
Answer: TypeAlias = Callable[[Request], Awaitable[Response]]

LIMITS = HttpLimits(max_body_bytes=64 * 1024)
_AT_ONCE = 2
"""Threads, of those that the whole process shares."""


class Books:
    """The store: a transaction for each request, in a thread, and not many at once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def answer(self, work: Callable[[Changes], object], status: int = 200) -> Response:
        """With what the work gives, as JSON; raises `OperatorError` or `StoreUnavailable`."""
        async with self._turns:
            shown = await asyncio.to_thread(self._transact, work)
        # A new key's secret may be among it.
        headers = {"Cache-Control": "no-store"}
        return Response(msgspec.json.encode(shown), status, headers, "application/json")

    def _transact(self, work: Callable[[Changes], object]) -> object:
        with transaction(self._store) as changes:
            return work(changes)


def admin_routes(store: Store, tiers: Tiers, seal: Seal) -> list[Route]:
    """All routes of the admin API."""
    books = Books(store)
    return [*_account_routes(books, tiers), *_key_routes(books, seal), *_report_routes(books)]


def _account_routes(books: Books, tiers: Tiers) -> list[Route]:
    async def list_accounts(request: Request) -> Response:
        return await books.answer(desk.list_accounts)

    async def create(request: Request) -> Response:
        form = await _form(forms.NewAccount, request)
        return await books.answer(
            lambda store: desk.create_account(store, form, tiers, by=_actor(request)), 201
        )

    async def show(request: Request) -> Response:
        return await books.answer(lambda store: desk.show_account(store, _named(request)))

    async def change(request: Request) -> Response:
        form = await _form(forms.AccountChanges, request)
        return await books.answer(
            lambda store: desk.change_account(store, _named(request), form, tiers, by=_actor(request))
        )

    return [
        _route("/admin/accounts", GET=list_accounts, POST=create),
        _route("/admin/accounts/{named:path}", GET=show, PATCH=change),  # a name may hold slashes
    ]


def _key_routes(books: Books, seal: Seal) -> list[Route]:
    async def list_keys(request: Request) -> Response:
        query = _query(forms.KeysQuery, request)
        return await books.answer(lambda store: desk.list_keys(store, query.account))

    async def create(request: Request) -> Response:
        form = await _form(forms.NewKey, request)
        return await books.answer(lambda store: desk.create_key(store, form, seal, by=_actor(request)), 201)

    async def show(request: Request) -> Response:
        return await books.answer(lambda store: desk.show_key(store, _named(request)))

    async def change(request: Request) -> Response:
        form = await _form(forms.KeyChanges, request)
        return await books.answer(
            lambda store: desk.change_key(store, _named(request), form, by=_actor(request))
        )

    async def revoke(request: Request) -> Response:
        return await books.answer(lambda store: desk.revoke_key(store, _named(request), by=_actor(request)))

    return [
        _route("/admin/keys", GET=list_keys, POST=create),
        _route("/admin/keys/{named}", GET=show, PATCH=change),
        _route("/admin/keys/{named}/revoke", POST=revoke),
    ]


def _report_routes(books: Books) -> list[Route]:
    async def usage(request: Request) -> Response:
        query = _query(forms.UsageQuery, request)
        return await books.answer(lambda store: desk.add_up(store, query))

    async def audit(request: Request) -> Response:
        query = _query(forms.AuditQuery, request)
        return await books.answer(lambda store: desk.show_audit(store, query))

    return [_route("/admin/usage", GET=usage), _route("/admin/audit", GET=audit)]


def _route(path: str, **by_method: Answer) -> Route:
    """One for all methods of a path, so that a 405 names them all."""

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
    """For the audit."""
    return f"admin:{peer(request.scope)}"
