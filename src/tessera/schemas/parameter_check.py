"""Whether a value may be given to one parameter of a function, as far as a short check can tell.

Raw text can often be read in two ways, as JSON and as a string. The reading that is valid is taken: a text
that the grammar admits for one reading is then never given to the tool in the other, which it would refuse.

This runs in the event loop, on schemas that clients send. It is therefore no full validator: every step is
counted, and what could take long, such as most patterns, is not decided. What is not decided is allowed; the
final validation has the last word.
"""

import json
from collections.abc import Mapping
from decimal import Decimal

from tessera.core.chat import Json, JsonObject
from tessera.schemas.references import as_list
from tessera.schemas.short_check import ShortCheck, TooLong


def may_be_given(schema: JsonObject, name: str, json_text: str, before: JsonObject) -> bool:
    """Whether the parameter `name` of a schema may have the value `json_text` after the arguments `before`
    it. True unless it is certain that no arguments which could follow make that valid.
    """
    try:
        arguments = {**before, name: json.loads(json_text, parse_float=Decimal)}
        return not _Faults(schema, arguments).falls_on({name}, schema)
    except (ValueError, RecursionError, TooLong):
        return True


class _Faults:
    """Finds the argument that makes all of them invalid. A missing argument may still follow."""

    def __init__(self, root: JsonObject, arguments: JsonObject) -> None:
        self._check = ShortCheck(root)
        self._arguments = arguments

    def falls_on(self, names: set[str], schema: Json) -> bool:
        """Whether the value of one of `names` is at fault. In a union of whole objects, every argument is at
        fault if no branch fits.
        """
        self._check.step()
        if not isinstance(schema, Mapping):
            return False
        if any(self._check.holds(self._rule(schema, name), self._arguments[name]) is False for name in names):
            return True
        parts = [*as_list(schema.get("allOf"))]
        if isinstance(reference := schema.get("$ref"), str):
            parts.append(self._check.referred_to(reference))
        if any(self.falls_on(names, part) for part in parts):
            return True
        unions = [as_list(schema.get(keyword)) for keyword in ("anyOf", "oneOf")]
        every_name = {*self._arguments}
        return any(all(self.falls_on(every_name, each) for each in union) for union in unions if union)

    def _rule(self, schema: JsonObject, name: str) -> Json:
        """The schema for the values of `name`."""
        properties = schema.get("properties")
        if isinstance(properties, Mapping) and name in properties:
            return properties[name]
        rules = self._check.rules_by_pattern(schema, name)
        if rules is None:
            return True
        others = schema.get("additionalProperties")
        return {"allOf": rules} if rules else others if isinstance(others, Mapping) else True
