r"""What stands between the tags of a call.

As JSON (Hermes): {"name": "NAME", "arguments": {…}}, on a line of its own.

As XML (Qwen): <function=NAME>, then parameter by parameter `<parameter=KEY>\nVALUE\n</parameter>`, then
</function>, each on a line of its own. Parameters come in the order of the schema. A value that can only be a
string is raw text, and the string's rules constrain that text; others are JSON. Which is which is the
parser's decision (`parsing.schema.Signature`), and the grammar keeps to it:

- only a string: raw text;
- a string without rules, or something else: raw text too, for whatever it is, it is valid;
- one of some constants, null or booleans: these, strings raw;
- any other mixture: JSON, its strings in quotes.

Raw text may hold any markup but what would end it for the parser.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from tessera.core.chat import Json, Tool
from tessera.errors import InvalidSchema
from tessera.parsing.schema import Signature
from tessera.parsing.syntax import CallStyle
from tessera.prompt.lark import Rules, either, expression, json_value, literal, quoted, without
from tessera.prompt.references import (
    AnySchema,
    Document,
    as_list,
    as_schema,
    definition_name,
    subschemas,
    types_named,
)
from tessera.prompt.validation import Validator

_CLOSE = literal("\n</parameter>\n")
# What ends a raw value for the parser, besides `_CLOSE`.
_ENDINGS = (r"<\/parameter>\s*(?:<parameter=|<\/function>)", r"\n<parameter=")
_ENDINGS_AT_START = "<parameter="
_BESIDE_PROPERTIES = ("anyOf", "patternProperties", "minProperties", "maxProperties", "enum", "const")


def call_body(
    rules: Rules, tool: Tool, document: Document, *, param: str, style: CallStyle, spelled_close: str | None
) -> str:
    """The rule for a call of `tool`, whose checked schema is `document`. `param` names it in errors, and
    `spelled_close` is the tag that ends calls, if that is ordinary text.
    """
    match style:
        case "json":
            return _json_call(rules, tool, document)
        case "xml":
            return _XmlCall(rules, tool, document, param, spelled_close).rule()
        case "none":
            raise ValueError("this syntax has no calls")
        case _:
            assert_never(style)


def opening_without_tag(style: CallStyle, names: Iterable[str]) -> list[str]:
    """The expressions of what the parser takes for a call though its tag is missing."""
    functions = "|".join(map(quoted, names))
    if style != "xml" or not functions:
        return []
    return [rf"<function=(?:{functions})>\s*(?:<parameter=|<\/function>)"]


def _json_call(rules: Rules, tool: Tool, document: Document) -> str:
    root = document.resolve(document.root)
    arguments: AnySchema = {"type": "object", "allOf": [root]}
    if isinstance(root, Mapping) and root.get("type") in (None, "object"):
        arguments = {**root, "type": "object"}
    before = literal(f'{{"name": {json.dumps(tool.name)}, "arguments": ')
    return rules.add("call", f'{before} {json_value(document.standing_alone(arguments))} "}}\\n"')


@dataclass(slots=True)
class _XmlCall:
    rules: Rules
    tool: Tool
    document: Document
    param: str
    spelled_close: str | None
    _terminals: dict[str, str] = field(default_factory=dict[str, str])

    def rule(self) -> str:
        signature = Signature(self.tool.parameters)
        members, required = self._members(), self._required()
        parameters: list[str] = []
        for name in [*members, *sorted(required - members.keys())]:
            schema = members.get(name, True)
            if schema is False and name not in required:
                continue
            if not name or any(c in name for c in "<>\n") or name != name.strip():
                self._refuse(
                    f"`properties`: a parameter named {name[:50]!r} cannot be written in this model's calls"
                )
            value = self._value(schema, only_text=signature.only_text(name))
            opening = literal(f"<parameter={name}>\n")
            whole = self.rules.add("parameter", f"{opening} {value}")
            parameters.append(whole if name in required else f"{whole}?")
        if not parameters and Validator(self.tool.parameters).validate("{}"):
            self._refuse(
                "`properties`: this model's calls hold what it names, and nothing that fits is named"
            )
        begin, end = literal(f"<function={self.tool.name}>\n"), literal("</function>\n")
        return self.rules.add("call", " ".join([begin, *parameters, end]))

    def _refuse(self, problem: str) -> None:
        raise InvalidSchema(f"The schema cannot be enforced: at #: {problem}.", param=self.param)

    def _parts(self, root: AnySchema, *through: str) -> list[Mapping[str, Json]]:
        """The schemas that hold for the arguments as a whole if `root` does, or, with `anyOf`, may hold."""
        parts: dict[int, Mapping[str, Json]] = {}
        todo = [root]
        while todo:
            part = todo.pop(0)
            if isinstance(part, Mapping) and id(part) not in parts:
                parts[id(part)] = part
                todo += [each for keyword in ("allOf", *through) for each in subschemas(part, keyword)]
                if "$ref" in part:
                    todo.append(self.document.definitions[definition_name(part)])
        return [*parts.values()]

    def _members(self) -> dict[str, AnySchema]:
        """What parameters there are: those that only branches name as any of the branches has them."""
        parts = self._parts(self.document.root)
        for keyword in _BESIDE_PROPERTIES if self.tool.strict else ():
            if any(keyword in part for part in parts):
                self._refuse(f"`{keyword}`: this model writes parameters one by one")
        members = _joined("allOf", parts)
        return {**_joined("anyOf", self._parts(self.document.root, "anyOf")), **members}

    def _required(self) -> set[str]:
        """The parameters without which nothing fits, be it that every branch requires them."""
        parts = self._parts(self.document.root)
        required = _required(parts)
        for part in parts:
            branches = [_required(self._parts(branch)) for branch in subschemas(part, "anyOf")]
            required |= set[str].intersection(*branches) if branches else set()
        return required

    def _value(self, schema: AnySchema, *, only_text: bool) -> str:
        text = self._text(schema)
        constants = None if only_text or text is None else _constants(self.document, schema)
        if constants is not None:
            return self._raw(either(literal(c if isinstance(c, str) else json.dumps(c)) for c in constants))
        if text is not None and (only_text or not text):
            return self._raw(text)
        return f"{json_value(self.document.standing_alone(schema))} {_CLOSE}"

    def _raw(self, text: str) -> str:
        close = self.spelled_close
        endings = [rf"<\/function>\s*{quoted(close)}"] if close else []
        safe = self._terminal("SAFE", without(*_ENDINGS, *endings, at_start=_ENDINGS_AT_START))
        terminal = self.rules.add("VALUE", f"{text} & {safe}") if text else safe
        return self.rules.add("value", terminal, options=f"suffix={_CLOSE}")

    def _terminal(self, key: str, body: str) -> str:
        """The same terminal for the same key."""
        if key not in self._terminals:
            self._terminals[key] = self.rules.add("SHARED", body)
        return self._terminals[key]

    def _text(self, schema: AnySchema) -> str | None:
        """The terminal of the strings that fit: "" for any, None for none."""
        if isinstance(schema, bool):
            return "" if schema else None
        if "string" not in types_named(schema):
            return None
        rules: list[str | None] = []
        if "const" in schema or "enum" in schema:
            values = [schema["const"]] if "const" in schema else schema["enum"]
            rules.append(_strings(values))
        if "minLength" in schema or "maxLength" in schema:
            rules.append(expression(f"(?s:.{{{schema.get('minLength', 0)},{schema.get('maxLength', '')}}})"))
        if isinstance(pattern := schema.get("pattern"), str):
            rules.append(expression(pattern.removeprefix("^").removesuffix("$")))
        if "$ref" in schema:
            rules.append(self._definition(definition_name(schema)))
        rules += map(self._text, subschemas(schema, "allOf"))
        if branches := subschemas(schema, "anyOf"):
            options = [text for text in map(self._text, branches) if text is not None]
            rules.append(None if not options else "" if "" in options else either(options))
        if None in rules:
            return None
        return " & ".join(rule for rule in rules if rule)

    def _definition(self, name: str) -> str | None:
        key = f"${name}"
        if key not in self._terminals:
            text = self._text(self.document.definitions[name])
            if not text:
                return text
            self._terminals[key] = self.rules.add("SHARED", text)
        return self._terminals[key]


def _strings(values: Json) -> str | None:
    strings = [literal(value) for value in as_list(values) if isinstance(value, str)]
    return either(strings) if strings else None


def _constants(document: Document, schema: AnySchema) -> list[Json] | None:
    """All values that fit, if they are constants, null or booleans."""
    schema = document.resolve(schema)
    if isinstance(schema, bool):
        return None
    if branches := subschemas(schema, "anyOf"):
        found = [_constants(document, branch) for branch in branches]
        return None if len(schema) > 1 or None in found else [v for values in found for v in values or ()]
    if schema.keys() & {"const", "enum"}:
        values = [schema["const"]] if "const" in schema else as_list(schema["enum"])
        return [*values] if len(schema) == 1 else None
    if types_named(schema) <= {"null", "boolean"}:
        by_type: dict[str, list[Json]] = {"null": [None], "boolean": [True, False]}
        return [value for name in sorted(types_named(schema)) for value in by_type[name]]
    return None


def _joined(keyword: str, parts: Iterable[Mapping[str, Json]]) -> dict[str, AnySchema]:
    """By name, the schemas that `parts` have for a property."""
    found: dict[str, list[AnySchema]] = {}
    for part in parts:
        properties = part.get("properties")
        for name, schema in properties.items() if isinstance(properties, Mapping) else ():
            found.setdefault(name, []).append(as_schema(schema))
    return {name: each[0] if len(each) == 1 else {keyword: each} for name, each in found.items()}


def _required(parts: Iterable[Mapping[str, Json]]) -> set[str]:
    return {str(name) for part in parts for name in as_list(part.get("required"))}
