r"""The rules for what stands between the tags of a call.

As JSON (Hermes): {"name": "NAME", "arguments": {…}}, on a line of its own.

As XML (Qwen): <function=NAME>, then parameter by parameter `<parameter=KEY>\nVALUE\n</parameter>`, then
</function>, each on a line of its own (`xml_calls`). Values are raw text (`parameter_values`). GLM's form has
other tags (`parsing.xml_tags`).

Other families have no tags around each call: see `harmony` and `framed_calls`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import assert_never

from tessera.core.chat import Tool
from tessera.grammars.lark import Rules, json_value, literal, quoted
from tessera.grammars.parameter_markup import ParameterMarkup
from tessera.grammars.xml_calls import XmlCall
from tessera.parsing.syntax import CallStyle
from tessera.parsing.xml_tags import XML_TAGS
from tessera.schemas.references import AnySchema, Document
from tessera.schemas.types import types_named


def call_body(
    rules: Rules,
    tool: Tool,
    document: Document,
    *,
    param: str,
    style: CallStyle,
    close: str,
    control_tokens: Mapping[str, int],
) -> str:
    """The rule for a call of `tool`, whose checked schema is `document`. Errors name the schema by `param`.
    `close` is the tag that ends calls.
    """
    match style:
        case "json":
            return _json_call(rules, tool, document)
        case "xml" | "glm" | "glm-4.7" | "gemma4":
            spelling = ParameterMarkup(XML_TAGS[style], close, control_tokens)
            return XmlCall(rules, tool, document, param=param, markup=spelling).rule()
        case "none" | "harmony" | "framed":
            raise ValueError(f"a syntax with the style {style} has no tags around each call")
        case _:
            assert_never(style)


def opening_without_tag(style: CallStyle, names: Iterable[str]) -> list[str]:
    """Expressions for text that the parser takes for a call although the call tag is missing."""
    functions = "|".join(map(quoted, names))
    if style != "xml" or not functions:
        return []
    return [rf"<function=(?:{functions})>\s*(?:<parameter=|</function>)"]


def _json_call(rules: Rules, tool: Tool, document: Document) -> str:
    before = literal(f'{{"name": {json.dumps(tool.name)}, "arguments": ')
    return rules.add("call", f'{before} {arguments_object(tool, document)} "}}\\n"')


def arguments_object(tool: Tool, document: Document) -> str:
    """The arguments of a call as one JSON object. If no object fits a schema that is not strict, it is any
    object: the final validation refuses it, but the other tools can be called.
    """
    root = document.resolve(document.root)
    if not tool.strict and isinstance(root, Mapping) and "object" not in types_named(root):
        root = True
    arguments: AnySchema = {"type": "object", "allOf": [root]}
    if isinstance(root, Mapping) and root.get("type") in (None, "object"):
        arguments = {**root, "type": "object"}
    return json_value(document.standing_alone(arguments))
