"""The admin API: what the commands do with accounts, keys, usage and the audit, over HTTP."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tessera.access.keys import KeyHasher
from tessera.access.tiers import Tiers
from tessera.http.body import read_body
from tessera.http.context import client_address
from tessera.http.limits import BodyLimits
from tessera.operator import actions, forms
from tessera.operator.budgets import list_budgets
from tessera.operator.files import written
from tessera.operator.rows import List
from tessera.store.database import Database, Transaction, transaction

F = TypeVar("F", bound=forms.Form)
Q = TypeVar("Q", bound=forms.Query)
T = TypeVar("T")
Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

LIMITS = BodyLimits(max_body_bytes=64 * 1024, body_deadline_s=30.0)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_MEDIA_TYPES: Mapping[forms.Format, str] = MappingProxyType(
    {
        "json": "application/json",
        "csv": "text/csv; charset=utf-8",
        "parquet": "application/vnd.apache.parquet",
    }
)
_AT_ONCE = 2
"""Threads. They are of the pool that the whole process shares."""


class _AdminApi:
    """The endpoints. Each does its work in a transaction, in a thread; `_AT_ONCE` of them at a time."""

    def __init__(self, database: Database, tiers: Tiers, hasher: KeyHasher) -> None:
        self._database = database
        self._tiers = tiers
        self._hasher = hasher
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def list_tiers(self, request: Request) -> Response:
        return _json(actions.list_tiers(self._tiers))

    async def list_accounts(self, request: Request) -> Response:
        query = _query(forms.ListQuery, request)
        return await self._list(request, lambda store: actions.list_accounts(store, query))

    async def create_account(self, request: Request) -> Response:
        form, by = await _form(forms.NewAccount, request), _actor(request)
        return await self._answer(lambda store: actions.create_account(store, form, self._tiers, by=by), 201)

    async def show_account(self, request: Request) -> Response:
        return await self._answer(lambda store: actions.show_account(store, _named(request)))

    async def change_account(self, request: Request) -> Response:
        form, named, by = await _form(forms.AccountChanges, request), _named(request), _actor(request)
        return await self._answer(
            lambda store: actions.change_account(store, named, form, self._tiers, by=by)
        )

    async def delete_account(self, request: Request) -> Response:
        query, named, by = _query(forms.DeletionQuery, request), _named(request), _actor(request)
        return await self._answer(lambda store: actions.delete_account(store, named, query, by=by))

    async def list_budgets(self, request: Request) -> Response:
        query = _query(forms.BudgetsQuery, request)
        return await self._answer(lambda store: list_budgets(store, self._tiers, query.account))

    async def list_keys(self, request: Request) -> Response:
        query = _query(forms.KeysQuery, request)
        return await self._list(request, lambda store: actions.list_keys(store, query))

    async def create_key(self, request: Request) -> Response:
        form, by = await _form(forms.NewKey, request), _actor(request)
        return await self._answer(lambda store: actions.create_key(store, form, self._hasher, by=by), 201)

    async def show_key(self, request: Request) -> Response:
        return await self._answer(lambda store: actions.show_key(store, _named(request)))

    async def change_key(self, request: Request) -> Response:
        form, named, by = await _form(forms.KeyChanges, request), _named(request), _actor(request)
        return await self._answer(lambda store: actions.change_key(store, named, form, by=by))

    async def revoke_key(self, request: Request) -> Response:
        named, by = _named(request), _actor(request)
        return await self._answer(lambda store: actions.revoke_key(store, named, by=by))

    async def usage(self, request: Request) -> Response:
        query = _query(forms.UsageQuery, request)
        if query.format == "json":
            return await self._answer(lambda store: actions.add_up(store, query))
        content = await self._transact(
            lambda store: written(actions.add_up(store, query), forms.read_groups(query.by), query.format)
        )
        name = f"usage.{query.format}"
        return _response(
            content, _MEDIA_TYPES[query.format], {"Content-Disposition": f'attachment; filename="{name}"'}
        )

    async def audit(self, request: Request) -> Response:
        query = _query(forms.AuditQuery, request)
        return await self._answer(lambda store: actions.show_audit(store, query))

    async def _answer(self, work: Callable[[Transaction], object], status: int = 200) -> Response:
        """The result of `work` as JSON; raises `OperatorError` or `StoreUnavailable`."""
        return _json(await self._transact(work), status)

    async def _list(self, request: Request, work: Callable[[Transaction], List]) -> Response:
        """The rows, with the way to the next page in the headers."""
        found = await self._transact(work)
        headers = {"X-Total-Count": str(found.n_found)}
        if found.cursor is not None:
            following = request.url.include_query_params(cursor=found.cursor)
            headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
        return _json(found.rows, headers=headers)

    async def _transact(self, work: Callable[[Transaction], T]) -> T:
        def transact() -> T:
            with transaction(self._database) as store:
                return work(store)

        async with self._at_once:
            return await asyncio.to_thread(transact)


def _json(shown: object, status: int = 200, headers: Mapping[str, str] = _NO_HEADERS) -> Response:
    return _response(msgspec.json.encode(shown), "application/json", headers, status)


def _response(content: bytes, media_type: str, headers: Mapping[str, str], status: int = 200) -> Response:
    # The secret of a new key may be in the answer.
    return Response(content, status, {"Cache-Control": "no-store", **headers}, media_type)


def admin_routes(database: Database, tiers: Tiers, hasher: KeyHasher) -> list[Route]:
    """All routes of the admin API."""
    api = _AdminApi(database, tiers, hasher)
    return [
        _route("/admin/tiers", GET=api.list_tiers),
        _route("/admin/accounts", GET=api.list_accounts, POST=api.create_account),
        # A name may hold slashes.
        _route(
            "/admin/accounts/{named:path}",
            GET=api.show_account,
            PATCH=api.change_account,
            DELETE=api.delete_account,
        ),
        _route("/admin/budgets", GET=api.list_budgets),
        _route("/admin/keys", GET=api.list_keys, POST=api.create_key),
        _route("/admin/keys/{named}", GET=api.show_key, PATCH=api.change_key),
        _route("/admin/keys/{named}/revoke", POST=api.revoke_key),
        _route("/admin/usage", GET=api.usage),
        _route("/admin/audit", GET=api.audit),
    ]


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
    return f"admin:{client_address(request.scope)}"
