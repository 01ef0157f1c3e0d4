"""Validation of finished values, the second half of the guarantee: `jsonschema-rs` has the last word.

Numbers keep their digits (`Decimal`), so that 0.1 is a tenth and 1e400 is finite. Formats are asserted, in
every draft. Patterns run on a linear engine. Nothing is ever fetched.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn

import jsonschema_rs

from tessera.core.chat import AnyJsonObject, ChatRequest, FreeText, JsonObject, JsonSchema
from tessera.prompt.references import escaped

_PATTERNS = jsonschema_rs.RegexOptions(size_limit=2**22)
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


@dataclass(frozen=True, slots=True)
class SchemaProblem:
    """Why a schema is not one, and where."""

    pointer: str
    message: str


def schema_problem(schema: JsonObject | bool) -> SchemaProblem | None:
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


class Validator:
    """Whether texts are JSON that fits one schema. Immutable, and safe to use from many threads."""

    def __init__(self, schema: JsonObject | bool) -> None:
        """Raises what `jsonschema_rs` raises for what is not a schema."""
        self._validator = jsonschema_rs.validator_for(
            schema if isinstance(schema, bool) else dict(schema),
            formats=_FORMATS,
            email_options=_ADDRESSES,
            validate_formats=True,
            offline=True,
            pattern_options=_PATTERNS,
        )

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


@dataclass(frozen=True, slots=True)
class ReplyValidators:
    """What the parts of one reply must be: its text, and the arguments of a call by the tool's name."""

    answer: Validator | None
    arguments: Mapping[str, Validator]


NO_VALIDATORS = ReplyValidators(None, {})


def reply_validators(request: ChatRequest) -> ReplyValidators:
    """The validators of a request whose grammar has been built: its schemas are known to be sound."""
    match request.answer_format:
        case FreeText():
            answer = None
        case AnyJsonObject():
            answer = Validator({"type": "object"})
        case JsonSchema(schema=schema):
            answer = Validator(schema)
    return ReplyValidators(answer, {tool.name: Validator(tool.parameters) for tool in request.tools})
