"""Validation of finished values, the second half of the guarantee: `jsonschema-rs` has the last word.

Numbers keep their digits (`Decimal`), so that 0.1 is a tenth and 1e400 is finite. Formats are asserted in
every draft. Patterns may look around and refer back, within a bounded number of steps: a text that would take
more does not match. Nothing is ever fetched.
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NoReturn

import jsonschema_rs

from tessera.core.chat import Json, JsonObject
from tessera.schemas.bounds import SchemaProblem
from tessera.schemas.drafts import dialect, draft_of
from tessera.schemas.forms import modern
from tessera.schemas.patterns import Malformed, Unsupported, full_match
from tessera.schemas.references import AnySchema, escaped, with_schemas

_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000, size_limit=2**24)
_CLASSES: Mapping[int, Any] = {
    4: jsonschema_rs.Draft4Validator,
    6: jsonschema_rs.Draft6Validator,
    7: jsonschema_rs.Draft7Validator,
    2019: jsonschema_rs.Draft201909Validator,
    2020: jsonschema_rs.Draft202012Validator,
}
_ADDRESSES = jsonschema_rs.EmailOptions(allow_display_text=False)
_LATER_FORMATS = (
    "duration", "idn-hostname", "iri", "iri-reference", "json-pointer", "relative-json-pointer",
    "uri-reference", "uri-template", "uuid",
)  # fmt: skip
# In a schema of a draft that does not know them yet, these formats would not be checked at all.
_FORMATS = {
    name: jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True).is_valid
    for name in _LATER_FORMATS
}


def schema_problem(schema: AnySchema) -> SchemaProblem | None:
    """Check `schema` against its metaschema, its references and patterns."""
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
    """The validator of the draft that the schema names, or of 2020-12. What it cannot read, and clients send,
    is put otherwise: older forms, a `$schema` that nobody knows, and the lenient spellings of patterns.
    """
    ways: list[tuple[int, Callable[[], Any]]] = [
        (2020, lambda: modern(schema)),
        (2020, lambda: _readable(modern(schema))),
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
    """The library takes no other mapping than a dict."""
    return schema if isinstance(schema, bool) else dict(schema)


def _readable(schema: Json) -> Any:  # noqa: ANN401 - JSON, as the library has it
    if not isinstance(schema, Mapping):
        return schema
    readable: dict[str, Any] = {}
    for name, value in schema.items():
        match name, value:
            case "$schema", _ if dialect(value) is None:
                pass
            case "pattern", str():
                readable[name] = _readable_pattern(value)
            case "patternProperties", Mapping():
                readable[name] = {_readable_pattern(each): _readable(inner) for each, inner in value.items()}
            case _:
                readable[name] = with_schemas(name, value, lambda each, _: _readable(each))
    return readable


def _readable_pattern(pattern: str) -> str:
    """The pattern itself if the validator reads it, else another spelling of it. A well-formed one that has
    none, or is too large, is not checked.
    """
    if _is_read(pattern):
        return pattern
    try:
        spelled = f"^{full_match(pattern)}$"
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
    """Whether texts are JSON that fits one schema. Immutable, and safe to use from many threads."""

    def __init__(self, schema: JsonObject | bool) -> None:
        """Raises what `jsonschema_rs` raises for what is not a schema."""
        self._validator = _build(schema)

    def validate(self, text: str) -> str | None:
        """None, or what is wrong with `text`: where and which rule, without quoting it."""
        try:
            value = json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return f"not JSON ({type(error).__name__})"
        error = next(iter(self._validator.iter_errors(value)), None)
        if error is None:
            return None
        where = "".join(f"/{step}" for step in error.instance_path)
        return f"at #{where}: breaks `{error.kind.name}`"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
