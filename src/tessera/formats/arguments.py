"""Spells the arguments of calls in the history, which should be JSON text.

A renderer writes them as the model wrote them: numbers keep their spelling, and the rest gets the spelling of
replies, with `", "` and `": "` between the parts and no escapes but those that JSON needs. A call that the
token limit cut comes back cut, and clients send other texts too: every function here takes any text.
"""

import json
import re
from collections.abc import Iterator, Mapping
from json.encoder import encode_basestring

from tessera.core.chat import Json

MAX_DEPTH = 64
"""Templates get more deeply nested values as text, since they recurse."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],:]|\s+', re.DOTALL)
_PLAIN_STRING = re.compile(r'"[^"\\\x00-\x1f]*"')
_SURROGATE = re.compile("[\ud800-\udfff]")
_PUNCTUATION = "{}[],:"
_SPACED = {",": ", ", ":": ": "}

_OBJECT = re.compile(r'\s*\{\s*(?="|\}|\Z)')
_SCALAR = re.compile(r'"[^"\\]*"|[^\s"{}\[\],:]+')
_NAME = re.compile(r'\s*,?\s*("(?:[^"\\]|\\.)*")\s*:\s*', re.DOTALL)
_NO_MORE = re.compile(r'\s*(?:\}|(?:"(?:[^"\\]|\\.)*["\\]?\s*)?\Z)', re.DOTALL)
_AFTER_VALUE = re.compile(r"\s*(?:[,}]|\Z)")
_HALF_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\(?:u[0-9a-fA-F]{0,3})?\Z")
_JSON = json.JSONDecoder(strict=False)
# It only finds the end of a value: numbers, which may be long, are not converted.
_SCANNER = json.JSONDecoder(parse_float=str, parse_int=str, strict=False)


def respelled(text: str) -> str:
    """JSON text, whole or cut, in the spelling of replies. Text that is no JSON becomes a JSON string."""
    return _spaced(text) if _OBJECT.match(text) or _is_json(text) else encode_basestring(text)


def members(text: str) -> Mapping[str, str] | None:
    """The JSON text of each member of an object, by name; the last one may be cut. None if the text is not
    an object, or the beginning of one, that can be read.
    """
    begin = _OBJECT.match(text)
    if begin is None:
        return None
    found: dict[str, str] = {}
    at = begin.end()
    while name := _NAME.match(text, at):
        at = _value_end(text, name.end())
        found[as_text(name[1])] = text[name.end() : at]
    return found if found or _NO_MORE.match(text, at) else None


def as_text(value: str) -> str:
    """The raw text of a member's JSON: strings without quotes, other values as JSON."""
    if not value.startswith('"'):
        return _spaced(value)
    if _PLAIN_STRING.fullmatch(value):
        return value[1:-1]
    try:
        decoded: str = _JSON.decode(value)
    except ValueError:
        decoded = _cut_string(value)
    return _SURROGATE.sub("\ufffd", decoded)


def as_mapping(text: str) -> Mapping[str, Json]:
    """The arguments as an object for templates. Text that is no object becomes its member `arguments`."""
    found = members(text)
    if found is None or _depth(text) > MAX_DEPTH:
        return {"arguments": text}
    return {name: _value(value) for name, value in found.items()}


def _spaced(text: str) -> str:
    return _TOKEN.sub(_respelled, text)


def _respelled(found: re.Match[str]) -> str:
    token = found[0]
    if token[0] in _PUNCTUATION:
        return _SPACED.get(token, token)
    if token.isspace():
        before = found.string[max(found.start() - 1, 0)]
        after = found.string[found.end() : found.end() + 1]
        return "" if before in _PUNCTUATION or after in _PUNCTUATION else token
    if _PLAIN_STRING.fullmatch(token):
        return token
    try:
        decoded: str = _JSON.decode(token)
    except ValueError:
        return token
    return token if _SURROGATE.search(decoded) else encode_basestring(decoded)


def _value_end(text: str, at: int) -> int:
    if scalar := _SCALAR.match(text, at):
        end = scalar.end()
    else:
        try:
            _, end = _SCANNER.raw_decode(text, at)
        except (ValueError, RecursionError):
            return len(text)
    return end if _AFTER_VALUE.match(text, end) else len(text)


def _cut_string(value: str) -> str:
    try:
        return _JSON.decode(_HALF_ESCAPE.sub(r"\1", value) + '"')
    except ValueError:
        return value


def _value(value: str) -> Json:
    try:
        decoded: Json = _JSON.decode(value)
    except ValueError:
        return as_text(value)
    return as_text(value) if isinstance(decoded, str) else decoded


def _is_json(text: str) -> bool:
    try:
        _SCANNER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _depth(text: str) -> int:
    return max(_depths(text), default=0)


def _depths(text: str) -> Iterator[int]:
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += (token[0] in "{[") - (token[0] in "}]")
        yield depth
