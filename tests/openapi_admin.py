"""The admin API in the OpenAPI document: a table of its operations, and the schemas of its rows."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import msgspec
from msgspec import Struct
from starlette.routing import Route
from tests import openapi_examples as examples
from tests.openapi_fields import PARAMETERS

from tessera.access.keys import KeyHasher
from tessera.access.tiers import Tier, Tiers
from tessera.core.record import RequestStep
from tessera.core.usage import GroupBy
from tessera.http.admin.debug import debug_routes
from tessera.http.admin.requests import OwnRequests, request_routes
from tessera.http.admin.routes import admin_routes
from tessera.http.inflight import InFlight
from tessera.operator import forms
from tessera.operator.rows import COUNTED
from tessera.store.accounts import Account
from tessera.store.database import Database

Json = dict[str, Any]
PLACE = "#/components/schemas/"

SERVERS = [
    {
        "url": "http://{host}:{port}",
        "description": "The admin listener, which has an address of its own.",
        "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "9464"}},
    }
]

REFUSALS: Mapping[int, str] = {
    400: "A value that makes no sense, or a field that does not exist.",
    401: "The key is not the admin key.",
    404: "There is none with this name or id.",
    408: "The body did not arrive in time: send the request again.",
    409: "An account of that name exists already: choose another name.",
    413: "The body is larger than 64 KiB.",
    415: "The body is not uncompressed `application/json`.",
    503: "The store of accounts is unavailable: try again.",
}
ALWAYS = (400, 401, 503)
OF_BODIES = (408, 413, 415)


_OF_PAGES: Json = {
    "X-Total-Count": {
        "description": "How many rows there are in all pages.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Link": {"description": "The address of the next page, if there is one.", "schema": {"type": "string"}},
}


@dataclass(frozen=True)
class Operation:
    """An operation. `answer` is the name of a schema, in brackets if it is a list."""

    path: str
    method: str
    tag: str
    id: str
    summary: str
    answer: str
    form: tuple[type[Struct], Json] | None = None
    query: type[Struct] | None = None
    status: int = 200
    refusals: tuple[int, ...] = ()
    files: tuple[str, ...] = ()
    """Media types that the answer may have besides JSON."""

    def shown(self) -> Json:
        """The operation as OpenAPI describes it."""
        refusals = sorted({*ALWAYS, *self.refusals, *(OF_BODIES if self.form else ())})
        content = {"schema": _reference(self.answer), "example": EXAMPLES.get(self.id, EXAMPLES[self.answer])}
        files = {
            media: {"schema": {"type": "string"}, "example": examples.FILES[media]} for media in self.files
        }
        answer: Json = {
            "description": self.summary,
            "content": {"application/json": content, **files},
            **({"headers": _OF_PAGES} if self.query and issubclass(self.query, forms.ListQuery) else {}),
        }
        found: Json = {
            "tags": [self.tag],
            "operationId": self.id,
            "summary": self.summary,
            "security": [{"adminKey": []}],
            "parameters": [*_of_path(self.path), *_of_query(self.query)],
            "responses": {
                str(self.status): answer,
                **{str(status): _refusal(status) for status in refusals},
            },
        }
        if self.form:
            kind, example = self.form
            body = {"schema": _reference(kind.__name__), "example": example}
            found["requestBody"] = {"required": True, "content": {"application/json": body}}
        return found


_NEW_ACCOUNT = (forms.NewAccount, {"name": "acme", "tier": "pro"})
_ACCOUNT_CHANGES = (forms.AccountChanges, {"tier": "scale"})
_NEW_KEY = (forms.NewKey, {"account": "acme", "name": "dev", "models": examples.KEY["models"]})
_KEY_CHANGES = (forms.KeyChanges, {"expires_s": 1924905600})
_ACCOUNTS, _ONE_ACCOUNT = "/admin/accounts", "/admin/accounts/{account}"
_KEYS, _ONE_KEY = "/admin/keys", "/admin/keys/{id}"
_A, _K, _ROWS, _REQUESTS, _DEBUG = "Accounts", "Keys", "Reports", "Requests", "Debugging"

EXAMPLES: Mapping[str, object] = {
    "Account": examples.ACCOUNT,
    "[Account]": [examples.ACCOUNT],
    "Key": examples.KEY,
    "[Key]": [examples.KEY],
    "createKey": examples.NEW_KEY,
    "OperatorUsageReport": examples.REPORT,
    "[Change]": [examples.CHANGE],
    "[Budget]": [examples.BUDGET],
    "[Tier]": [examples.TIER],
    "RunningRequests": examples.REQUESTS,
    "RunningTasks": examples.TASKS,
}
"""By the name of the answer or, if one has another, by the id of the operation."""

OPERATIONS = (
    Operation("/admin/tiers", "get", _A, "listTiers", "List the tiers.", "[Tier]"),
    Operation(
        _ACCOUNTS,
        "get",
        _A,
        "listAccounts",
        "List all accounts or a page of them, by name unless the query says otherwise.",
        "[Account]",
        query=forms.ListQuery,
    ),
    Operation(
        _ACCOUNTS,
        "post",
        _A,
        "createAccount",
        "Create an account.",
        "Account",
        form=_NEW_ACCOUNT,
        status=201,
        refusals=(409,),
    ),
    Operation(_ONE_ACCOUNT, "get", _A, "getAccount", "Show one account.", "Account", refusals=(404,)),
    Operation(
        _ONE_ACCOUNT,
        "patch",
        _A,
        "changeAccount",
        "Move an account to another tier, disable it or enable it.",
        "Account",
        form=_ACCOUNT_CHANGES,
        refusals=(404,),
    ),
    Operation(
        _ONE_ACCOUNT,
        "delete",
        _A,
        "deleteAccount",
        "Delete an account and its keys permanently.",
        "Account",
        query=forms.DeletionQuery,
        refusals=(404,),
    ),
    Operation(
        "/admin/budgets",
        "get",
        _A,
        "listBudgets",
        "Show how much of its budgets each account and key has used.",
        "[Budget]",
        query=forms.BudgetsQuery,
        refusals=(404,),
    ),
    Operation(
        _KEYS,
        "get",
        _K,
        "listKeys",
        "List the keys of an account, or all keys.",
        "[Key]",
        query=forms.KeysQuery,
        refusals=(404,),
    ),
    Operation(
        _KEYS,
        "post",
        _K,
        "createKey",
        "Create a key. Only this response contains its secret.",
        "Key",
        form=_NEW_KEY,
        status=201,
        refusals=(404,),
    ),
    Operation(_ONE_KEY, "get", _K, "getKey", "Show one key.", "Key", refusals=(404,)),
    Operation(
        _ONE_KEY,
        "patch",
        _K,
        "changeKey",
        "Change a key; fields that are not sent keep their values.",
        "Key",
        form=_KEY_CHANGES,
        refusals=(404,),
    ),
    Operation(
        _ONE_KEY + "/revoke", "post", _K, "revokeKey", "Revoke a key permanently.", "Key", refusals=(404,)
    ),
    Operation(
        "/admin/usage",
        "get",
        _ROWS,
        "getOperatorUsage",
        "Add up usage.",
        "OperatorUsageReport",
        query=forms.UsageQuery,
        refusals=(404,),
        files=("text/csv", "application/vnd.apache.parquet"),
    ),
    Operation(
        "/admin/audit",
        "get",
        _ROWS,
        "getAudit",
        "List changes, the latest first.",
        "[Change]",
        query=forms.AuditQuery,
        refusals=(404,),
    ),
    Operation(
        "/admin/requests",
        "get",
        _REQUESTS,
        "listRequests",
        "List the chat requests in flight.",
        "RunningRequests",
    ),
    Operation(
        "/admin/requests/{id}/cancel",
        "post",
        _REQUESTS,
        "cancelRequest",
        "End a request with an error, and show it as it was.",
        "RunningRequests",
        refusals=(404,),
    ),
    Operation(
        "/admin/debug/requests",
        "get",
        _DEBUG,
        "getRunningRequests",
        "The same as `/admin/requests`.",
        "RunningRequests",
    ),
    Operation(
        "/admin/debug/tasks", "get", _DEBUG, "getRunningTasks", "List the asyncio tasks.", "RunningTasks"
    ),
)


def operator_routes(store: Database) -> list[Route]:
    """All routes of the admin API, of a server of one process."""
    return [
        *admin_routes(store, Tiers(), KeyHasher(b"s" * 32)),
        *request_routes(OwnRequests(InFlight())),
        *debug_routes(answers_requests=True),
    ]


def admin_paths() -> Json:
    """All paths of the admin listener, except the metrics and the probe."""
    found: Json = {}
    for each in OPERATIONS:
        found.setdefault(each.path, {"servers": SERVERS})[each.method] = each.shown()
    return found


def admin_schemas() -> Json:
    """The schemas that these paths name, without descriptions of their fields."""
    kinds = [each.form[0] for each in OPERATIONS if each.form]
    _, made = msgspec.json.schema_components([*kinds, Account, Tier], ref_template=PLACE + "{name}")
    text, number = {"type": "string"}, {"type": "number"}
    count = {"type": "integer", "minimum": 0}
    perhaps_number = {"type": ["number", "null"]}
    key = {
        **{name: {**text} for name in ("id", "secret", "account", "name", "state", "last4", "account_id")},
        "created_s": number,
        **{name: {**perhaps_number} for name in ("last_used_s", "expires_s", "revoked_s")},
        "models": {"type": ["array", "null"], "items": text},
        "burst_rpm": {"type": ["integer", "null"]},
        "burst_until_s": {**perhaps_number},
        "budgets": {"type": "object", "additionalProperties": {"type": "integer"}},
        "pepper": {"type": ["string", "null"]},
    }
    budget = {
        **{name: {**text} for name in ("account", "account_id", "budget", "period")},
        "key_id": {"type": ["string", "null"]},
        **{name: {**count} for name in ("limit_tokens", "used_tokens", "percent")},
        "resets_s": {**number},
    }
    request = {
        **{
            name: {"type": ["string", "null"]}
            for name in ("id", "request_id", "account", "key_id", "client", "model")
        },
        "step": {"enum": [*(step.value for step in RequestStep), None]},
        "age_s": {**number},
        "waited_s": {**perhaps_number},
        **{name: {**count} for name in ("prompt_tokens", "completion_tokens")},
    }
    change = {
        "id": {"type": "integer"},
        "at_s": {**number},
        **{name: {**text} for name in ("actor", "action", "subject")},
        "detail": {"type": "object"},
    }
    task = {name: {"type": ["string", "null"]} for name in ("name", "coroutine", "waits_at")}
    counts = {name: {**count} for name in COUNTED}
    row = {**{name: {**text} for name in get_args(GroupBy)}, **counts}
    report = {
        "rows": {"type": "array", "items": _reference("OperatorUsageRow")},
        "totals": _reference("UsageTotals"),
    }
    return {
        **made,
        "Key": _object("A key of an account.", key, *(name for name in key if name != "secret")),
        "Budget": _object("A budget of an account or a key, and what is used of it.", budget, *budget),
        "Change": _object("A change by an operator.", change, *change),
        "OperatorUsageReport": _object("Usage of all accounts, or of some.", report, *report),
        "OperatorUsageRow": _object("What the requests of a group add up to.", row, *COUNTED),
        "RunningRequests": _process("What a process answers.", "requests", "RunningRequest"),
        "RunningRequest": _object("A chat request in flight; it shows no content.", request, *request),
        "RunningTasks": _process("What a process does.", "tasks", "RunningTask"),
        "RunningTask": _object("An asyncio task.", task, *task),
    }


def _process(about: str, name: str, row: str) -> Json:
    noted = {"note": {"type": "string"}} if name == "tasks" else {}
    rows = {name: {"type": "array", "items": _reference(row)}}
    return _object(about, {"process": {"type": "integer"}, **noted, **rows}, "process", name)


def _object(about: str, properties: Json, *required: str) -> Json:
    return {
        "description": about,
        "type": "object",
        "properties": properties,
        "required": [*required],
        "additionalProperties": False,
    }


def _reference(name: str) -> Json:
    if name.startswith("["):
        return {"type": "array", "items": _reference(name.strip("[]"))}
    return {"$ref": PLACE + name}


def _refusal(status: int) -> Json:
    return {
        "description": REFUSALS[status],
        "content": {"application/json": {"schema": _reference("Error")}},
    }


def _of_path(path: str) -> list[Json]:
    abouts = {"account": ("Its name or id.", "acme"), "id": ("Its id.", examples.KEY["id"])}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": abouts[name][0],
            "schema": {"type": "string", "minLength": 1},
            "example": abouts[name][1],
        }
        for name in re.findall(r"\{(\w+)\}", path)
    ]


def _of_query(query: type[Struct] | None) -> list[Json]:
    if query is None:
        return []
    _, made = msgspec.json.schema_components([query], ref_template=PLACE + "{name}")
    return [
        {"name": name, "in": "query", "description": PARAMETERS[name], "schema": _of_text(schema)}
        for name, schema in made[query.__name__]["properties"].items()
    ]


def _of_text(schema: Json) -> Json:
    """The schema of a field in a query, where `null` is an ordinary text, except for numbers."""
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    kinds: list[Json] = schema.get("anyOf", [])
    if any(kind.get("type") == "string" for kind in kinds):
        return {**kept, "type": "string"}
    default = {} if schema.get("default") is None else {"default": schema["default"]}
    return {**kept, **({"anyOf": kinds} if kinds else {}), **default}
