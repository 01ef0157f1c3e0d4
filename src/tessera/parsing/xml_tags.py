"""The tags of calls that are written parameter by parameter, with raw values: one value a form."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tessera.parsing.syntax import CallStyle


@dataclass(frozen=True, slots=True)
class XmlTags:
    """A call is `function` NAME `name_end`, the parameters, `function_end`; a parameter is `parameter` KEY
    `key_end` `value` VALUE `value_end`. A tag that a form does not have is empty: then the name ends at the
    first tag, and the call at its own closing tag.

    `line` is what separates these parts. With `value_lines`, a value stands on lines of its own.
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
    }
)
