"""Decodes strict JSON into structs. A failure is a `RequestError` whose `param` is the path of the value."""

import re
from itertools import chain
from typing import TypeAlias, TypeVar

import msgspec

from tessera.core.chat import Json
from tessera.errors import RequestError

T = TypeVar("T")

_Container: TypeAlias = dict[str, Json] | list[Json]

MAX_DEPTH = 64
"""The most objects and arrays inside each other, in parts of a request whose form is up to the client."""

_SEPARATORS = (b",", b"[", b"{")
_REASON = re.compile(r"(?s)(?P<reason>.*?)(?: - at (?:`key` in )?`\$(?P<path>.*)`)?\Z")
_FIELD = re.compile(r"(?s)Object (?P<fault>missing required|contains unknown) field `(?P<field>.*)`\Z")

# A whole number may be sent with a decimal point. Messages leave that out.
_WHOLE_NUMBER = (("`float` that's a multiple of 1.0", "`int`"), ("int | float", "int"))

HINTS = {
    "messages.role": "Roles are system, developer, user, assistant and tool; results have the role tool.",
    "messages.content": 'Send a string, or parts {"type": "text", "text": …}.',
    "messages.function_call": "Send 'tool_calls', and the result with the role tool.",
    "messages.audio": "This service reads text only: send what was said as text in 'content'.",
    "messages.tool_call_id": "Send the `id` of the call that this message answers.",
    "messages.tool_calls.type": 'Send {"type": "function", "id": …, "function": {…}}.',
    "messages.tool_calls.function.arguments": "Send the JSON text of an object.",
    "tool_choice": "Send none, auto, required, a function by its name, or allowed_tools.",
    "response_format": "Send a type of text, json_object or json_schema.",
    "chat_template_kwargs": "It takes enable_thinking and preserve_thinking, true or false.",
    "modalities": "This service reads and writes text only.",
    "by": "Send day, account, key or model.",
    "logit_bias": "Keys are token ids as decimal text, values numbers from -100 to 100.",
}
"""What to send instead, for a field and all fields inside it, where the reason alone is not enough."""


def decode(decoder: msgspec.json.Decoder[T], text: bytes | str, param: str = "") -> T:
    """Decodes JSON text that stands at `param` of the request ("" is its root)."""
    try:
        return decoder.decode(text)
    except msgspec.ValidationError as error:
        raise _located(error, param) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _malformed(error, param) from None
    except RecursionError:
        raise _too_deep(param) from None


def check_utf8(body: bytes) -> None:
    """Refuses bytes that are no UTF-8, since a decoder does not look at fields that it skips."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise _malformed(error, "") from None


def count_separators(text: bytes) -> int:
    """Returns about how many values JSON text has: at most one too few, and more where strings hold such
    characters.
    """
    return sum(map(text.count, _SEPARATORS))


def has_more_values(text: bytes, limit: int) -> bool:
    """Whether valid JSON text has more than about `limit` values, estimated without decoding it.

    Decoding a value takes some fifty times as long as counting in its text, and blocks the interpreter.
    """
    if count_separators(text) <= limit:
        return False
    bare = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if bare.count(b'"') // 2 > 2 * limit:
        return True  # a name and its value can both be strings
    outside_strings = b"".join(bare.split(b'"')[::2])
    return count_separators(outside_strings) > limit


def convert(value: Json, to: type[T], param: str, *, strict: bool = True) -> T:
    """Converts a decoded value at `param` to a struct. If not strict, numbers may be text."""
    try:
        return msgspec.convert(value, to, strict=strict)
    except msgspec.ValidationError as error:
        raise _located(error, param) from None


def check_depth(value: Json, param: str) -> None:
    """Refuses a value nested so deeply that recursive code could run out of stack."""
    level: list[_Container] = [[value]]
    for _ in range(MAX_DEPTH + 1):
        # With `chain`, this takes no longer than the decoding did; a nested loop takes many times as long.
        children = chain.from_iterable(node.values() if isinstance(node, dict) else node for node in level)
        level = [child for child in children if isinstance(child, (dict, list))]
        if not level:
            return
    if any(level):
        raise _too_deep(param)


def quoted(text: str) -> str:
    """Text of a client, quoted and shortened for a message."""
    return f"'{text if len(text) <= 64 else text[:63] + '…'}'"


def missing(param: str) -> RequestError:
    """The error for a parameter that must be sent."""
    return RequestError(
        f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def _malformed(error: Exception, param: str) -> RequestError:
    where = f"'{param}'" if param else "The body"
    return RequestError(
        f"{where} is not valid JSON: {error}. Numbers must be finite and text well-formed Unicode.",
        param=param or None,
        code="invalid_json",
    )


def _too_deep(param: str) -> RequestError:
    return RequestError(
        f"{quoted(param) if param else 'The body'} is nested too deeply: at most {MAX_DEPTH} levels.",
        param=param or None,
        code="invalid_json",
    )


def _located(error: msgspec.ValidationError, param: str) -> RequestError:
    """Converts a msgspec error, such as `Expected `int`, got `str` - at `$.messages[0].content``."""
    match = _REASON.match(str(error))
    assert match is not None, "every text matches"
    reason = match["reason"]
    path = (match["path"] or "").replace("[...]", "")
    param = (param + path).removeprefix(".")
    if field := _FIELD.match(reason):
        param = f"{param}.{field['field'][:64]}".removeprefix(".")
        missing = field["fault"].startswith("missing")
        message = f"{'Missing required' if missing else 'Unknown'} parameter: '{param}'."
        code = "missing_required_parameter" if missing else "unknown_parameter"
    else:
        shown = reason[:1].lower() + reason[1:200].replace(" | null", "")
        for written, meant in _WHOLE_NUMBER:
            shown = shown.replace(written, meant)
        message = f"Invalid '{param}': {shown}." if param else f"The body is not a request: {shown}."
        code = None
    hint = _hint(param)
    return RequestError(f"{message} {hint}" if hint else message, param=param or None, code=code)


def _hint(param: str) -> str | None:
    """The hint for the field, or for the nearest field around it that has one."""
    field = re.sub(r"\[\d+\]", "", param)
    while field and field not in HINTS:
        field = field.rpartition(".")[0]
    return HINTS.get(field)
