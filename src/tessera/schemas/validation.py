"""Validates finished values with `jsonschema-rs`, the second half of the guarantee.

Numbers keep their digits (`Decimal`), so that 0.1 is a tenth and 1e400 is finite. Formats are asserted in
every draft. Patterns may have look-around and back-references; a text that takes too many steps to match does
not match. Nothing is ever fetched.
"""

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

import jsonschema_rs

from tessera.core.chat import Json, JsonObject
from tessera.schemas.bounds import SchemaProblem
from tessera.schemas.drafts import dialect, draft_of, modern
from tessera.schemas.patterns import Malformed, Unsupported, full_match
from tessera.schemas.references import AnySchema, escaped, with_schemas
from tessera.schemas.string_formats import is_asserted

_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000, size_limit=2**24)
_CLASSES: Mapping[int, Any] = {
    4: jsonschema_rs.Draft4Validator,
    6: jsonschema_rs.Draft6Validator,
    7: jsonschema_rs.Draft7Validator,
    2019: jsonschema_rs.Draft201909Validator,
    2020: jsonschema_rs.Draft202012Validator,
}
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ADDRESSES = jsonschema_rs.EmailOptions(allow_display_text=False)
_LATER_FORMATS = (
    "duration", "idn-hostname", "iri", "iri-reference", "json-pointer", "relative-json-pointer",
    "uri-reference", "uri-template", "uuid",
)  # fmt: skip
# The library checks these formats only in drafts that define them.
_FORMATS = {
    name: jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True).is_valid
    for name in _LATER_FORMATS
}


def schema_problem(schema: AnySchema) -> SchemaProblem | None:
    """Checks `schema` against its metaschema, its references and patterns."""
    try:
        Validator(schema)
    except jsonschema_rs.ValidationError as error:
        pointer = "".join(f"/{escaped(str(step))}" for step in error.instance_path)
        keyword = f"`{error.instance_path[-1]}`: " if error.instance_path else ""
        return SchemaProblem(pointer, keyword + error.message[:200])
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return SchemaProblem("", str(error)[:200])
    return None


def _build(schema: AnySchema) -> jsonschema_rs.Validator:
    """The validator of the draft that the schema names, or of 2020-12. What clients send and that validator
    cannot read is rewritten: older forms, an unknown `$schema`, and lenient spellings of patterns.
    """
    schema = _respelled(schema, _without_word_boundaries)
    ways: list[tuple[int, Callable[[], Any]]] = [
        (2020, lambda: modern(schema)),
        (2020, lambda: _respelled(modern(schema), _readable_pattern)),
        (7, lambda: schema),
        (4, lambda: schema),
    ]
    if draft := draft_of(schema):
        ways.insert(0, (draft, lambda: schema))
    problem: ValueError | jsonschema_rs.ReferencingError | None = None
    for number, put in ways:
        try:
            return _CLASSES[number](
                _plain(put()),
                validate_formats=True,
                formats=_FORMATS,
                email_options=_ADDRESSES,
                offline=True,
                pattern_options=_PATTERNS,
            )
        except (jsonschema_rs.ReferencingError, ValueError) as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _plain(schema: Any) -> Any:  # noqa: ANN401 - JSON, as the library has it
    """The library takes no mapping but a dict."""
    return schema if isinstance(schema, bool) else dict(schema)


def _respelled(schema: Json, spell: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON, as the library has it
    """The schema with patterns in another spelling, without unknown drafts and formats that do not count."""
    if not isinstance(schema, Mapping):
        return schema
    respelled: dict[str, Any] = {}
    for name, value in schema.items():
        match name, value:
            case "$schema", _ if dialect(value) is None:
                pass
            case "format", str() if not is_asserted(value, schema):
                pass
            case "pattern", str():
                respelled[name] = spell(value)
            case "patternProperties", Mapping():
                respelled[name] = {spell(each): _respelled(inner, spell) for each, inner in value.items()}
            case _:
                respelled[name] = with_schemas(name, value, lambda each, _: _respelled(each, spell))
    return respelled


def _without_word_boundaries(pattern: str) -> str:
    r"""The pattern without escapes of angle brackets: only the library takes `\<` and `\>` for boundaries."""
    return _ESCAPED.sub(lambda found: found[1] if found[1] in "<>" else found[0], pattern)


def _readable_pattern(pattern: str) -> str:
    """The pattern itself if the validator can read it, else an equal one. A well-formed pattern for which
    there is none is replaced by one that always matches.
    """
    if _is_read(pattern):
        return pattern
    try:
        spelled = f"^{full_match(pattern, writable_only=False)}$"
    except Malformed:
        return pattern
    except Unsupported:
        return ""
    return spelled if _is_read(spelled) else ""


def _is_read(pattern: str) -> bool:
    try:
        jsonschema_rs.Draft202012Validator({"pattern": pattern}, pattern_options=_PATTERNS)
    except ValueError:
        return False
    return True


class Validator:
    """Validates texts by one schema. Immutable, and safe to use from many threads."""

    def __init__(self, schema: JsonObject | bool) -> None:
        """Raises what `jsonschema_rs` raises for what is not a schema."""
        self._validator = _build(schema)

    def validate(self, text: str) -> str | None:
        """Where `text` is invalid, and by which keyword, without quoting it; None if it is valid."""
        try:
            value = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return f"not JSON ({type(error).__name__})"
        error = next(iter(self._validator.iter_errors(value)), None)
        if error is None:
            return None
        where = "".join(f"/{step}" for step in error.instance_path)
        return f"at #{where}: breaks `{error.kind.name}`"

    def may_hold(self, name: str, value: Json) -> bool:
        """Whether the member `name` of an object may have that value, whatever the other members are."""
        errors = self._validator.iter_errors({name: value})
        return not any(error.instance_path[:1] == [name] for error in errors)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
