r"""The rules for values of parameters that are raw text: `<parameter=KEY>\nVALUE\n</parameter>`, or in the
form of other tags.

The grammar admits strings as they are and other values as JSON, which is how a replayed call shows them.
`schemas.signature` reads a text in a way that is valid: a text that is admitted as one thing is never read as
another that is invalid. Two rules are added here:

- Where the value may be JSON that is restricted by its schema, a string must not begin as that JSON does,
  such as with `{"`: the lexer follows the longest text that may continue, and would never choose the JSON.
- Raw text may contain any markup that does not end it for the parser.

Where strings stand in quotes of the family's own, a value is a string or JSON, and neither rule is needed.
"""

import json
import re
from collections.abc import Callable, Mapping

from tessera.core.chat import Json
from tessera.grammars.lark import (
    ANY_TEXT,
    Rules,
    either,
    expression,
    json_value,
    literal,
    markup,
    quoted,
    whole_match,
    without,
)
from tessera.grammars.parameter_markup import ParameterMarkup
from tessera.schemas.references import AnySchema, Document, definition_name, subschemas
from tessera.schemas.types import types_of
from tessera.schemas.value_kinds import DEEPEST, ValueKinds, admits
from tessera.schemas.work import BRIEF_VISIT, CHARACTERS_PER_STEP

# The characters with which JSON of each type begins, as part of a class.
_FIRST = {"string": '"', "object": r"\{", "array": r"\[", "boolean": "tf", "null": "n"} | dict.fromkeys(
    ("integer", "number"), r"0-9\-"
)
# The constants of longer lists are not checked here; the final validation has the last word.
_MOST_CHECKED = 64
_STEPS_PER_CONSTANT = 0.1
"""For writing a constant."""


class ParameterValues:
    """Makes the rules for the values of one tool. Equal rules are made once."""

    def __init__(self, rules: Rules, document: Document, spelling: ParameterMarkup) -> None:
        self._markup = spelling
        self._rules = rules
        self._document = document
        self._kinds = ValueKinds(document, rules.work)
        self._endings = spelling.endings
        self._names: dict[tuple[str, str], str] = {}
        self._texts: dict[str, str | None] = {}
        self._found: dict[int, list[Json]] = {}
        self._jsons: dict[tuple[int | str, ...], str] = {}
        self._depth = 0

    def rule(self, schema: AnySchema, fits: Callable[[Json], bool], *, only_text: bool) -> str | None:
        """The rule for a value and the tag that ends it; None if no value is valid.

        `fits` tells whether a constant is valid. With `only_text`, the parser reads every text as a string.
        """
        text = self._text(schema)
        kinds = set[str]() if only_text else self._kinds.open_kinds(schema)
        if self._markup.tags.quote:
            return self._string_or_json(schema, fits, kinds, text, only_text=only_text)
        if text == "":
            kinds = {kind for kind in kinds if self._kinds.has_rules(schema, kind)}
            if not kinds:
                return self._raw([ANY_TEXT], [], "")
        constants = self._constants(schema, fits)
        strings = [literal(value) for value in constants if isinstance(value, str)]
        others = [value for value in constants if not isinstance(value, str) and not only_text]
        if text is not None:
            strings.append(text or ANY_TEXT)
        if not strings:
            return self._json(schema, set()) if kinds or others else None
        words = [literal(_replayed(value)) for value in others if not kinds & types_of(value)]
        raw = self._raw(strings, words, self._beginning(schema, kinds))
        if not kinds or not isinstance(schema, Mapping):
            return raw
        return self._once("value", f"{raw} | {self._json(schema, kinds)}")

    def _string_or_json(
        self,
        schema: AnySchema,
        fits: Callable[[Json], bool],
        kinds: set[str],
        text: str | None,
        *,
        only_text: bool,
    ) -> str | None:
        """The rule for a value that is a string in quotes, or else JSON."""
        constants = self._constants(schema, fits)
        strings = [literal(value) for value in constants if isinstance(value, str)]
        strings += [] if text is None else [text or ANY_TEXT]
        others = [value for value in constants if not isinstance(value, str) and not only_text]
        options = [self._in_quotes(strings)] if strings else []
        options += [literal(_replayed(value)) for value in others if not kinds & types_of(value)]
        options += [self._json(schema, kinds)] if kinds else []
        return self._once("value", " | ".join(options)) if options else None

    def _in_quotes(self, strings: list[str]) -> str:
        terminal = self._once("SAFE", without(*self._endings))
        if strings != [ANY_TEXT]:
            terminal = self._once("VALUE", f"{either(strings)} & {terminal}")
        quote = self._markup.tags.quote
        if not self._markup.is_spelled:
            tag = markup(quote, self._markup.control_tokens)
            return self._once("quoted", f"{tag} {terminal} {tag}")
        rest = self._once("raw", terminal, options=f"suffix={literal(quote)}")
        return self._once("quoted", f"{literal(quote)} {rest}")

    def _json(self, schema: AnySchema, kinds: set[str]) -> str:
        """The rule for JSON of these types, or of any if there are none. Parameters may share a schema."""
        key = (id(self._document.resolve(schema)), *sorted(kinds))
        if key not in self._jsons:
            if kinds and isinstance(schema, Mapping):
                schema = {**schema, "type": sorted(kinds)}
            value = json_value(self._document.standing_alone(schema, self._rules.work))
            self._jsons[key] = self._once("value", f"{value} {self._markup.end_rule}")
        return self._jsons[key]

    def _raw(self, strings: list[str], words: list[str], beginning: str) -> str:
        text = either(strings)
        if beginning:
            text = f"({text} & {beginning})"
        terminal = self._once("SAFE", without(*self._endings, at_start=quoted(self._markup.ending_at_start)))
        if beginning or strings != [ANY_TEXT]:
            terminal = self._once("VALUE", f"{either([text, *words])} & {terminal}")
        if not self._markup.is_spelled:
            return self._once("raw", f"{terminal} {self._markup.end_rule}")
        return self._once("raw", terminal, options=f"suffix={literal(self._markup.end)}")

    def _once(self, name: str, body: str, options: str = "") -> str:
        if (body, options) in self._names:
            self._rules.work.spend(BRIEF_VISIT * len(body) / CHARACTERS_PER_STEP)
        else:
            self._names[body, options] = self._rules.add(name, body, options=options)
        return self._names[body, options]

    def _text(self, schema: AnySchema) -> str | None:
        """The terminal for the valid strings that are no constants: "" if all are valid, None if none is."""
        if isinstance(schema, bool):
            return "" if schema else None
        self._rules.work.spend()
        if not admits(schema, "string"):
            return None
        rules: list[str | None] = []
        if "minLength" in schema or "maxLength" in schema:
            rules.append(_of_length(schema.get("minLength"), schema.get("maxLength")))
        if isinstance(pattern := schema.get("pattern"), str):
            rules.append(whole_match(pattern))
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
        if name not in self._texts:
            if self._depth == DEEPEST:
                return ""
            self._depth += 1
            text = self._text(self._document.definitions[name])
            self._depth -= 1
            self._texts[name] = self._once("TEXT", text) if text else text
        return self._texts[name]

    def _constants(self, schema: AnySchema, fits: Callable[[Json], bool]) -> list[Json]:
        """The constants that are valid and can be written."""
        found = self._writable(self._document.resolve(schema))
        listed = len(found) <= _MOST_CHECKED
        checked = [listed or value is None or isinstance(value, bool) for value in found]
        self._rules.work.spend(sum(checked) + _STEPS_PER_CONSTANT * len(found))
        return [value for value, check in zip(found, checked, strict=True) if not check or fits(value)]

    def _writable(self, schema: AnySchema) -> list[Json]:
        """The constants of a schema that can be written. Parameters may share the schema."""
        if id(schema) not in self._found:
            found = {json.dumps(value): value for value in self._kinds.constants(schema)}
            self._found[id(schema)] = [
                each for each in found.values() if self._can_be_written(_replayed(each))
            ]
        return self._found[id(schema)]

    def _can_be_written(self, text: str) -> bool:
        if not self._markup.is_spelled:
            return True
        start, end = self._markup.ending_at_start, self._markup.end
        if (start and text.startswith(start)) or re.search("|".join(self._endings), text):
            return False
        return (text + end).index(end) == len(text)

    def _beginning(self, schema: AnySchema, kinds: set[str]) -> str:
        """The terminal for texts that do not begin as JSON of these types does; "" if any text may stand.

        It spells out what may follow the first characters: the automaton of a complement would be too large.
        """
        first = ""
        texts = list[str]()
        if "object" in kinds:
            first += r"\{"
            texts.append(r'\{(?:[^"}].*)?')
        if "array" in kinds:
            items = "".join(sorted({_FIRST[kind] for kind in self._kinds.first_items(schema)}))
            first += r"\["
            texts.append(rf"\[(?:[^\]{items}].*)?")
        if kinds & {"integer", "number"}:
            first += r"0-9\-"
            texts.append(r"-?[0-9][0-9.eE+\-]*(?:[^0-9.eE+\-\n].*)?|-(?:[^0-9].*)?")
        return expression(f"(?s:(?:[^{first}].*|{'|'.join(texts)})?)") if texts else ""


def _of_length(least: Json, most: Json) -> str:
    low = int(least) if isinstance(least, int | float) else 0
    high = int(most) if isinstance(most, int | float) else ""
    return expression(f"(?s:.{{{low},{high}}})")


def _replayed(value: Json) -> str:
    """A value as a replayed call shows it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
