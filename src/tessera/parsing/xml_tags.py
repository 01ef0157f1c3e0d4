"""The tags of calls that are written parameter by parameter: one value a form."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tessera.parsing.syntax import QUOTE, CallStyle


@dataclass(frozen=True, slots=True)
class XmlTags:
    """A call is `function` NAME `name_end`, the parameters, `function_end`; a parameter is `parameter` KEY
    `key_end` `value` VALUE `value_end`. A tag that a form does not have is empty: then the name ends at the
    first tag, and the call at its own closing tag.

    `line` is what separates these parts. With `value_lines`, a value stands on lines of its own.

    With a `quote`, strings stand between quotes of the family's own, and every other value is JSON; else all
    values are raw text. A `separator` stands between parameters. No name has a character of `not_in_names`.
    With `by_name`, parameters come in the order of their names, as the family's templates write them.
    """

    parameter: str
    key_end: str
    value_end: str
    value: str = ""
    function: str = ""
    name_end: str = ""
    function_end: str = ""
    line: str = "\n"
    value_lines: bool = False
    quote: str = ""
    separator: str = ""
    not_in_names: str = "<>\n"
    by_name: bool = False


_GLM = XmlTags(parameter="<arg_key>", key_end="</arg_key>", value="<arg_value>", value_end="</arg_value>")

XML_TAGS: Mapping[CallStyle, XmlTags] = MappingProxyType(
    {
        "xml": XmlTags(
            function="<function=",
            name_end=">",
            parameter="<parameter=",
            key_end=">",
            value_end="</parameter>",
            function_end="</function>",
            value_lines=True,
        ),
        "glm": _GLM,
        "glm-4.7": replace(_GLM, line=""),
        "gemma4": XmlTags(
            function="call:",
            name_end="{",
            parameter="",
            key_end=":",
            value_end="",
            function_end="}",
            line="",
            quote=QUOTE,
            separator=",",
            not_in_names='<>\n:,{}[]"',
            by_name=True,
        ),
    }
)
