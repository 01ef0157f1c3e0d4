"""The OpenAPI document of the service, made of the code: `python -m tests.openapi > docs/openapi.json`."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec
from msgspec import UNSET, Struct
from tests.error_codes import error_codes

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
PLACE = "#/components/schemas/"
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

NEVER_SENT = (CommandError, ModelError, OperatorError, StartupError)

_STANDING: Json = {
    f"X-RateLimit-{name}-Requests": {"schema": {"type": "integer", "minimum": 0}}
    for name in ("Limit", "Remaining", "Reset")
}

_DAY = {"type": "string", "format": "date"}
_OWN_BY = {"enum": list(get_args(OwnBy))}
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
    """The whole of it."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tessera",
            "version": "1",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "An OpenAI-compatible Chat Completions API. See api.md.",
        },
        "servers": [{"url": "http://127.0.0.1:8000"}],
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def statuses() -> Mapping[int, list[type[TesseraError]]]:
    """The classes of errors by the status that they are answered with."""
    found: dict[int, list[type[TesseraError]]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, TesseraError) and not issubclass(kind, NEVER_SENT):
            found.setdefault(kind.status, []).append(kind)
    return dict(sorted(found.items()))


def _paths() -> Json:
    name = {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    chat = {
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
                "headers": {"X-Request-Id": _text(), "X-Tessera-Ignored-Params": _text(), **_STANDING},
                "content": {
                    "application/json": {"schema": {"$ref": PLACE + "ChatCompletion"}},
                    "text/event-stream": {},
                },
            },
            **_refusals(status for status in statuses() if status != 405),
        },
    }
    return {
        "/v1/chat/completions": {"post": chat},
        "/v1/models": {
            "get": _get("listModels", "List the models that the key may use.", "CardList", 400, 401)
        },
        "/v1/models/{id}": {
            "parameters": [name],
            "get": _get("getModel", "Show one model. Ids may contain slashes.", "Card", 400, 401, 403, 404),
        },
        "/v1/usage": {
            "parameters": [
                _asked("since", _DAY),
                _asked("until", _DAY),
                _asked("by", {"enum": ["day", "model"]}),
            ],
            "get": _get("getUsage", "Show what the key's account has used.", "UsageReport", 400, 401, 503),
        },
        "/healthz": {"get": _open("healthz", "Whether the process is alive.")},
        "/readyz": {"get": _open("readyz", "Whether the server is ready to answer.", 503)},
    }


def _asked(name: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "schema": schema}


def _get(operation: str, summary: str, schema: str, *refusals: int, standing: Json = _STANDING) -> Json:
    answer = {
        "description": summary,
        "headers": {"X-Request-Id": _text(), **standing},
        "content": {"application/json": {"schema": {"$ref": PLACE + schema}}},
    }
    return {"operationId": operation, "summary": summary, "responses": {"200": answer, **_refusals(refusals)}}


def _open(operation: str, summary: str, *refusals: int) -> Json:
    found = _get(operation, summary, "Health", 400, *refusals, standing={})
    return {**found, "security": []}


def _refusals(wanted: Iterable[int]) -> Json:
    return {str(status): _refusal(statuses()[status]) for status in wanted}


def _refusal(kinds: list[type[TesseraError]]) -> Json:
    said = [" ".join((kind.__doc__ or "").split()) for kind in kinds if kind is not TesseraError]
    headers = {"X-Request-Id": _text(), "X-Should-Retry": _text(), "Retry-After": _text()}
    return {
        "description": " / ".join(said) or "A bug in Tessera; the message contains the request's id.",
        "headers": headers,
        "content": {"application/json": {"schema": {"$ref": PLACE + "Error"}}},
    }


def _text() -> Json:
    return {"schema": {"type": "string"}}


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
        "ChatCompletionChunk": _chunk(),
        "Error": _error(),
        "Health": {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]},
    }


def _complete(request: Json) -> None:
    """What the struct leaves to the code after it."""
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
    fields |= {name: {"description": "Accepted, but has no effect."} for name in sorted(WITHOUT_EFFECT)}
    request["description"] = (
        "Other fields are ignored and listed in X-Tessera-Ignored-Params. These get 400: "
        f"{', '.join(sorted(REFUSED))}, and all fields that begin with guided_."
    )


def _chunk() -> Json:
    call = {
        "type": "object",
        "properties": {
            "index": {"type": "integer"},
            "id": {"type": "string"},
            "type": {"const": "function"},
            "function": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}},
                "required": ["arguments"],
                "additionalProperties": False,
            },
        },
        "required": ["index", "function"],
        "additionalProperties": False,
    }
    nothing = {"type": "null"}
    delta = {
        "type": "object",
        "properties": {
            "role": {"const": "assistant"},
            "content": {"type": ["string", "null"]},
            "reasoning_content": {"type": "string"},
            "reasoning": {"type": "string"},
            "tool_calls": {"type": "array", "items": call},
        },
        "additionalProperties": False,
    }
    choice = {
        "type": "object",
        "properties": {
            "index": {"type": "integer"},
            "delta": delta,
            "logprobs": {"anyOf": [{"$ref": PLACE + "Logprobs"}, nothing]},
            "finish_reason": {"enum": [*(each.value for each in FinishReason), None]},
        },
        "required": ["index", "delta", "finish_reason", "logprobs"],
        "additionalProperties": False,
    }
    fields = {
        "id": {"type": "string"},
        "object": {"const": "chat.completion.chunk"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "system_fingerprint": {"type": "string"},
        "choices": {"type": "array", "items": choice},
    }
    usage = {"anyOf": [{"$ref": PLACE + "UsageCounts"}, nothing]}
    return {
        "title": "ChatCompletionChunk",
        "type": "object",
        "properties": {**fields, "usage": usage},
        "required": [*fields],
        "additionalProperties": False,
    }


def _error() -> Json:
    fields = {
        "message": {"type": "string", "minLength": 1},
        "type": {"enum": list(get_args(errors.ErrorType))},
        "code": {"enum": [*error_codes(), *get_args(Reason)]},
        "param": {"type": ["string", "null"]},
    }
    error = {"type": "object", "properties": fields, "required": [*fields], "additionalProperties": False}
    return {
        "title": "Error",
        "type": "object",
        "properties": {"error": error},
        "required": ["error"],
        "additionalProperties": False,
    }


def text() -> str:
    """The file's content."""
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"


def references(document: Json) -> set[str]:
    """The names of the schemas that are referred to."""
    return set(re.findall(PLACE + r"(\w+)", json.dumps(document)))


if __name__ == "__main__":
    print(text(), end="")
