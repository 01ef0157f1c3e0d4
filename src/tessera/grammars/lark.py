r"""Pieces of Lark, as llguidance reads it.

Rules (lower case) are context-free, terminals (upper case) are regular and may be intersected (`&`) and
complemented (`~`).
"""

import json
import re
from collections.abc import Iterable, Mapping

from tessera.core.chat import Json, JsonObject
from tessera.schemas.references import as_list, as_object, with_schemas
from tessera.schemas.work import CHARACTERS_PER_STEP, Work

ANY_TEXT = "/(?s:.*)/"

_JSON_STYLE: JsonObject = {
    # The separators of Python's `json.dumps`, which is what chat templates print and what models have seen
    # most. One spelling, and no other white space: most structural tokens are then forced, and a model
    # cannot lose itself in blanks.
    "item_separator": ", ",
    "key_separator": ": ",
    "whitespace_flexible": False,
    # Without \uXXXX no name has a second spelling, so none can come twice.
    "json_allowed_escapes": 'nrbtf\\"',
}


# An escaped character, which may be a slash or a backslash, or a bare slash, which would end the expression.
_ESCAPED_OR_BARE = re.compile(r"\\.|/", re.DOTALL)
_AS_LARK = {"/": r"\/", "\\\n": r"\n"}


def literal(text: str) -> str:
    """Exactly this text."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", r"\u007f")


def markup(tag: str, control_tokens: Mapping[str, int]) -> str:
    """A tag: a control token if there is one for it, else its text; "" for an empty tag."""
    if tag in control_tokens:
        return f"<[{control_tokens[tag]}]>"
    return literal(tag) if tag else ""


def expression(regex: str) -> str:
    """A terminal for a regular expression, whose slashes may be escaped or not."""
    spelled = _ESCAPED_OR_BARE.sub(lambda found: _AS_LARK.get(found[0], found[0]), regex)
    return f"/{spelled or '(?:)'}/"


def whole_match(pattern: str) -> str:
    """A terminal for a pattern of a checked schema, which matches whole texts."""
    return expression(pattern.removeprefix("^").removesuffix("$"))


def without(*anywhere: str, at_start: str = "") -> str:
    """Any text in which none of the expressions matches, nor `at_start` at its start.

    One complement, not an intersection of several: the automaton of those grows much faster.
    """
    found = [f"(?s:.*)(?:{'|'.join(anywhere)})"] if anywhere else []
    found += [at_start] if at_start else []
    if not found:
        return ANY_TEXT
    start = f"(?:{'|'.join(found)})(?s:.*)"
    return f"{ANY_TEXT} & ~{expression(start)}"


def quoted(text: str) -> str:
    """The regular expression that matches exactly this text."""
    return re.escape(text)


def either(options: Iterable[str]) -> str:
    """One of the options, of which there is at least one."""
    return f"({' | '.join(options)})"


def json_value(schema: JsonObject) -> str:
    """A JSON value of that schema, in one spelling."""
    whole = {**_counted(schema), "x-guidance": _JSON_STYLE}
    return f"%json {json.dumps(whole, ensure_ascii=False)}"


def _counted(schema: JsonObject) -> JsonObject:
    """Rewrites `minProperties: 1` as branches: one for each listed name that may be the first one present,
    and one for any other name. llguidance counts properties only where all listed ones are required.
    """
    counted = {name: with_schemas(name, value, _counted_part) for name, value in schema.items()}
    names = [*as_object(schema.get("properties"))]
    if schema.get("minProperties") != 1 or set(names) <= set(as_list(schema.get("required"))):
        return counted
    branches: list[Json] = [
        {"properties": dict.fromkeys(names[:i], False), "required": [name]} for i, name in enumerate(names)
    ]
    if schema.get("additionalProperties") is not False or "patternProperties" in schema:
        branches.append({"properties": dict.fromkeys(names, False), "minProperties": 1})
    del counted["minProperties"]
    return {**counted, "allOf": [*as_list(counted.get("allOf")), {"anyOf": branches}]}


def _counted_part(schema: Json, _: str) -> Json:
    return _counted(schema) if isinstance(schema, Mapping) else schema


class Rules:
    """Collects the rules and terminals of a grammar, each under a name of its own. `work` bounds their length
    and the steps to make them.
    """

    def __init__(self, work: Work | None = None) -> None:
        self.work = work or Work()
        self._lines: list[str] = []

    def add(self, name: str, body: str, *, options: str = "") -> str:
        """Adds a rule, or a terminal if `name` is upper case. Returns the name, made unique by a number.

        Raises `TooMuchWork`.
        """
        self.work.spend(len(body) / CHARACTERS_PER_STEP)
        whole = f"{name}_{len(self._lines)}".replace("_", "_X" if name.isupper() else "_")
        self._lines.append(f"{whole}{f'[{options}]' if options else ''}: {body}")
        return whole

    def text(self, start: str) -> str:
        """The grammar whose start is `start`."""
        return "\n".join([f"start: {start}", *self._lines, ""])
