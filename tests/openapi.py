"""The OpenAPI document of the service, made of the code: `python -m tests.openapi > docs/openapi.json`."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec
from msgspec import UNSET, Struct
from tests.error_codes import error_codes
from tests.openapi_admin import PLACE, admin_paths, admin_schemas
from tests.openapi_examples import COMPLETION, MODELS, STREAM, USAGE
from tests.openapi_fields import FIELDS, PARAMETERS

from tessera import errors
from tessera.core.events import FinishReason
from tessera.engine.host.client import Reason
from tessera.errors import CommandError, ModelError, OperatorError, StartupError, TesseraError
from tessera.wire import cards, reply, usage
from tessera.wire.cards import Card, CardList
from tessera.wire.decode import REFUSED, WITHOUT_EFFECT
from tessera.wire.reply import Completion
from tessera.wire.request import Request, ToolDefinition
from tessera.wire.usage import OwnBy, UsageReport

Json = dict[str, Any]
RENAMED = {
    "Request": "ChatRequest",
    "Completion": "ChatCompletion",
}

_SENT = {
    RENAMED.get(kind.__name__, kind.__name__): kind
    for module in (cards, reply, usage)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Struct) and kind is not Struct
}
"""What is part of responses: what has a default there is sent all the same."""

TAGS = {
    "Chat": "Replies to conversations.",
    "Models": "What can be asked for.",
    "Usage": "What the key's account has used.",
    "Health": "Probes, which need no key.",
    "Accounts": "Customers. On the admin listener, with the admin key; so are all that follow.",
    "Keys": "The keys of accounts.",
    "Reports": "Usage of all accounts, and changes by operators.",
    "Requests": "Chat requests in flight.",
    "Debugging": "What the server is doing.",
}

NEVER_SENT = (CommandError, ModelError, OperatorError, StartupError)

_STANDING: Json = {
    f"X-RateLimit-{name}-Requests": {"description": about, "schema": {"type": "integer", "minimum": 0}}
    for name, about in {
        "Limit": "The sustained rate, in requests per minute.",
        "Remaining": "The requests that remain of it.",
        "Reset": "Seconds until all of it is available again.",
    }.items()
}
_HEADERS = {
    "X-Request-Id": "The id of the request, which the log has too.",
    "X-Tessera-Ignored-Params": "Fields of the request that were ignored.",
    "X-Should-Retry": "false if a retry cannot help.",
    "Retry-After": "Seconds after which a retry may succeed.",
}

_DAY = {"type": "string", "format": "date"}
_OWN_BY = {"type": "string", "enum": list(get_args(OwnBy))}
_ASKED = {"messages": [{"role": "user", "content": "What is the weather in León?"}]}
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 40}},
    "required": ["city"],
}
_FUNCTION = {"name": "get_weather", "description": "The weather of a city.", "parameters": _SCHEMA}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "city", "schema": _SCHEMA, "strict": True}}
_EXAMPLES: Json = {
    name: {"value": {**_ASKED, "max_completion_tokens": 50, **more}}
    for name, more in {
        "plain": {},
        "stream": {"stream": True, "stream_options": {"include_usage": True}},
        "tools": {"tools": [{"type": "function", "function": _FUNCTION}]},
        "thinking": {"chat_template_kwargs": {"enable_thinking": True}, "thinking_token_budget": 20},
        "structured": {"response_format": _FORMAT},
    }.items()
}


def document() -> Json:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tessera",
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "An OpenAI-compatible API for chat completions, and the API of its operators.",
        },
        "servers": [{"url": "/", "description": "The server that this document comes from."}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "security": [{"key": []}],
        "paths": {**_paths(), **admin_paths()},
        "components": {
            "schemas": _described({**_schemas(), **admin_schemas()}),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "A key of an account."},
                "adminKey": {"type": "http", "scheme": "bearer", "description": "TESSERA_ADMIN_KEY."},
            },
        },
    }


def statuses() -> Mapping[int, list[type[TesseraError]]]:
    """The classes of errors by their status."""
    found: dict[int, list[type[TesseraError]]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, TesseraError) and not issubclass(kind, NEVER_SENT):
            found.setdefault(kind.status, []).append(kind)
    return dict(sorted(found.items()))


def _paths() -> Json:
    name = {
        "name": "id",
        "in": "path",
        "required": True,
        "description": "A model's id or alias, which may contain slashes.",
        "schema": {"type": "string", "minLength": 1},
        "example": MODELS["data"][0]["id"],
    }
    chat = {
        "tags": ["Chat"],
        "operationId": "createChatCompletion",
        "summary": "Create a reply, whole or streamed.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": PLACE + "ChatRequest"}, "examples": _EXAMPLES}
            },
        },
        "responses": {
            "200": {
                "description": "The reply; with `stream`, events that each contain a ChatCompletionChunk.",
                "headers": {
                    **{name: _text(name) for name in ("X-Request-Id", "X-Tessera-Ignored-Params")},
                    **_STANDING,
                },
                "content": {
                    "application/json": {
                        "schema": {"$ref": PLACE + "ChatCompletion"},
                        "example": COMPLETION,
                    },
                    "text/event-stream": {"example": STREAM},
                },
            },
            **_refusals(status for status in statuses() if status != 405),
        },
    }
    return {
        "/v1/chat/completions": {"post": chat},
        "/v1/models": {
            "get": _get("Models", "listModels", "List the models that the key may use.", MODELS, 400, 401)
        },
        "/v1/models/{id}": {
            "get": {
                **_get("Models", "getModel", "Show one model.", MODELS["data"][0], 400, 401, 403, 404),
                "parameters": [name],
            }
        },
        "/v1/usage": {
            "get": {
                **_get("Usage", "getUsage", "Show what the account has used.", USAGE, 400, 401, 503),
                "parameters": [
                    _asked("since", _DAY),
                    _asked("until", _DAY),
                    _asked("by", {**_OWN_BY, "default": "day"}),
                ],
            }
        },
        "/healthz": {"get": _open("healthz", "Whether the process is alive.", "ok")},
        "/readyz": {"get": _open("readyz", "Whether the server is ready to answer.", "ready", 503)},
    }


def _asked(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": PARAMETERS[name], "schema": schema}


_ANSWERS = {"listModels": "CardList", "getModel": "Card", "getUsage": "UsageReport"}


def _get(
    tag: str, operation: str, summary: str, example: Json, *refusals: int, standing: Json = _STANDING
) -> Json:
    schema = {"$ref": PLACE + _ANSWERS.get(operation, "Health")}
    answer = {
        "description": summary,
        "headers": {"X-Request-Id": _text("X-Request-Id"), **standing},
        "content": {"application/json": {"schema": schema, "example": example}},
    }
    return {
        "tags": [tag],
        "operationId": operation,
        "summary": summary,
        "responses": {"200": answer, **_refusals(refusals)},
    }


def _open(operation: str, summary: str, status: str, *refusals: int) -> Json:
    found = _get("Health", operation, summary, {"status": status}, 400, *refusals, standing={})
    return {**found, "security": []}


def _refusals(wanted: Iterable[int]) -> Json:
    return {str(status): _refusal(statuses()[status]) for status in wanted}


def _refusal(kinds: list[type[TesseraError]]) -> Json:
    said = [" ".join((kind.__doc__ or "").split()) for kind in kinds if kind is not TesseraError]
    headers = {name: _text(name) for name in ("X-Request-Id", "X-Should-Retry", "Retry-After")}
    return {
        "description": " / ".join(said) or "A bug in Tessera; the message contains the request's id.",
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": PLACE + "Error"}}},
    }


def _text(name: str) -> Json:
    return {"description": _HEADERS[name], "schema": {"type": "string"}}


def _schemas() -> Json:
    kinds = [Request, ToolDefinition, Completion, Card, CardList, UsageReport]
    _, made = msgspec.json.schema_components(kinds, ref_template=PLACE + "{name}")
    text = json.dumps(made)
    for name, short in RENAMED.items():
        text = text.replace(f'{PLACE}{name}"', f'{PLACE}{short}"').replace(f'"{name}": {{', f'"{short}": {{')
    schemas: Json = json.loads(text.replace("\\\\Z", "$"))  # JSON Schema's patterns end so
    _complete(schemas["ChatRequest"])
    for name, kind in _SENT.items():
        sent = [each.encode_name for each in msgspec.structs.fields(kind) if each.default is not UNSET]
        schemas[name]["required"] = sent
    schemas["MessageChoice"]["properties"]["finish_reason"] = {"enum": [each.value for each in FinishReason]}
    return {
        **schemas,
        **_chunk(),
        **_error(),
        "Health": {
            "title": "Health",
            "description": "The answer of a probe.",
            "type": "object",
            "properties": {"status": {"type": "string"}},
            "required": ["status"],
        },
    }


def _described(schemas: Json) -> Json:
    """The schemas with a description of every field, and without defaults that say nothing."""
    for name, schema in schemas.items():
        for field, kind in schema.get("properties", {}).items():
            kind["description"] = FIELDS[name][field]
            if kind.get("default", ...) is None:
                del kind["default"]
    return schemas


def _complete(request: Json) -> None:
    """Adds what the struct leaves to the code that decodes."""
    request["title"] = "ChatRequest"
    fields = request["properties"]
    tools = next(each for each in fields["tools"]["anyOf"] if each.get("type") == "array")
    tools["items"] = {"$ref": PLACE + "ToolDefinition"}
    for field in fields.values():
        if "anyOf" in field:  # JSON Schema's integers may be written with a point, as ours may
            field["anyOf"] = [kind for kind in field["anyOf"] if "multipleOf" not in kind]
    for name in ("max_tokens", "max_completion_tokens"):
        (number, nothing) = fields[name]["anyOf"]
        fields[name]["anyOf"] = [{**number, "minimum": 1}, {"const": -1}, nothing]
    fields |= {name: {} for name in sorted(WITHOUT_EFFECT)}
    request["description"] = (
        "Other fields are ignored and listed in X-Tessera-Ignored-Params. These get 400: "
        f"{', '.join(sorted(REFUSED))}, and all fields that begin with guided_."
    )


def _chunk() -> Json:
    text, nothing = {"type": "string"}, {"type": "null"}
    function = _object(
        "What a delta adds to a call.", {"name": {**text}, "arguments": {**text}}, ["arguments"]
    )
    call = _object(
        "The beginning of a call, or more of it.",
        {
            "index": {"type": "integer"},
            "id": {**text},
            "type": {"const": "function"},
            "function": {"$ref": PLACE + "ChunkFunction"},
        },
        ["index", "function"],
    )
    delta = _object(
        "What a chunk adds to a reply.",
        {
            "role": {"const": "assistant"},
            "content": {"type": ["string", "null"]},
            "reasoning_content": {**text},
            "reasoning": {**text},
            "tool_calls": {"type": "array", "items": {"$ref": PLACE + "ChunkCall"}},
        },
        [],
    )
    choice = _object(
        "What a chunk adds to a choice.",
        {
            "index": {"type": "integer"},
            "delta": {"$ref": PLACE + "ChunkDelta"},
            "logprobs": {"anyOf": [{"$ref": PLACE + "Logprobs"}, nothing]},
            "finish_reason": {"enum": [*(each.value for each in FinishReason), None]},
        },
        ["index", "delta", "finish_reason", "logprobs"],
    )
    fields = {
        "id": {**text},
        "object": {"const": "chat.completion.chunk"},
        "created": {"type": "integer"},
        "model": {**text},
        "system_fingerprint": {**text},
        "choices": {"type": "array", "items": {"$ref": PLACE + "ChunkChoice"}},
    }
    usage = {"anyOf": [{"$ref": PLACE + "UsageCounts"}, nothing]}
    about = "An event of a stream. Joined together, the deltas are the reply."
    return {
        "ChatCompletionChunk": _object(about, {**fields, "usage": usage}, [*fields]),
        "ChunkChoice": choice,
        "ChunkDelta": delta,
        "ChunkCall": call,
        "ChunkFunction": function,
    }


def _error() -> Json:
    fields = {
        "message": {"type": "string", "minLength": 1},
        "type": {"enum": list(get_args(errors.ErrorType))},
        "code": {"enum": [*error_codes(), *get_args(Reason)]},
        "param": {"type": ["string", "null"]},
    }
    body = {"error": {"$ref": PLACE + "ErrorBody"}}
    return {
        "Error": _object("The body of every response that is an error.", body, [*body]),
        "ErrorBody": _object("What went wrong.", fields, [*fields]),
    }


def _object(about: str, properties: Json, required: list[str]) -> Json:
    return {
        "description": about,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def text() -> str:
    """The file's content."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def references(document: Json) -> set[str]:
    """The names of the schemas that the document refers to."""
    return set(re.findall(PLACE + r"(\w+)", json.dumps(document)))


if __name__ == "__main__":
    print(text(), end="")
