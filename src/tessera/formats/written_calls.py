"""Calls as the models of a family write them: to recognise templates, and to show a model how."""

import json

from tessera.core.chat import Json
from tessera.formats.arguments import as_text, members
from tessera.parsing.syntax import QUOTE, CallForm, Syntax
from tessera.parsing.xml_tags import XML_TAGS


def call_text(syntax: Syntax, name: str, arguments: str) -> str:
    """A call, of which `arguments` is the JSON text. If calls have identifiers, only its beginning."""
    match syntax.calls:
        case "xml" | "glm" | "glm-4.7":
            return _by_parameter(syntax, name, arguments)
        case "gemma4":
            return _in_gemma(name, arguments)
        case _ if syntax.form is not None:
            return _framed(syntax, syntax.form, name, arguments)
        case _:
            return _tagged(syntax, f'{{"name": "{name}", "arguments": {arguments}}}')


def example_call(syntax: Syntax) -> str:
    """A call of a function NAME with ARGUMENTS, or of NAME with a PARAMETER."""
    match syntax.calls:
        case "xml" | "glm" | "glm-4.7" | "gemma4":
            return _tagged(syntax, call_text(syntax, "NAME", '{"PARAMETER": "VALUE"}'))
        case _:
            call = call_text(syntax, "NAME", "ARGUMENTS")
    form = syntax.form
    if form is None:
        return call
    return f"{call}{f'0{form.after_id}ARGUMENTS' if form.id else ''}{form.last}"


def _tagged(syntax: Syntax, body: str) -> str:
    assert syntax.call is not None
    line = syntax.call_line
    return f"{syntax.call.open}{line}{body}{line}{syntax.call.close}"


def _framed(syntax: Syntax, form: CallForm, name: str, arguments: str) -> str:
    opening = syntax.call.open if syntax.call and not form.bare else ""
    return f"{opening}{form.first}{name}{form.between}{'' if form.id else arguments}"


def _by_parameter(syntax: Syntax, name: str, arguments: str) -> str:
    tags = XML_TAGS[syntax.calls]
    end = f"{tags.line if tags.value_lines else ''}{tags.value_end}{tags.line}"
    parameters = "".join(
        f"{tags.parameter}{key}{tags.key_end}{tags.line}{tags.value}{as_text(value)}{end}"
        for key, value in (members(arguments) or {}).items()
    )
    return f"{tags.function}{name}{tags.name_end}{tags.line}{parameters}{tags.function_end}"


def _in_gemma(name: str, arguments: str) -> str:
    values: dict[str, Json] = json.loads(arguments)
    written = (
        f"{key}:{QUOTE}{value}{QUOTE}" if isinstance(value, str) else f"{key}:{json.dumps(value)}"
        for key, value in values.items()
    )
    return f"call:{name}{{{','.join(written)}}}"
