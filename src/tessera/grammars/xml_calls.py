"""The rules for calls that are written parameter by parameter.

The parameters that the schema lists come in its order, then others, where the schema has a rule for others.
With `strict`, a schema that cannot be enforced in this way is refused. Without, what cannot be enforced is
left out; the final validation has the last word.
"""

import re
from collections.abc import Sequence
from functools import cached_property

from tessera.core.chat import Json, Tool
from tessera.grammars.lark import Rules, expression, literal, quoted, whole_match
from tessera.grammars.parameter_markup import ParameterMarkup
from tessera.grammars.parameter_values import ParameterValues
from tessera.schemas.bounds import SchemaProblem
from tessera.schemas.parameters import parameters_of
from tessera.schemas.references import AnySchema, Document
from tessera.schemas.short_check import ShortCheck, TooLong
from tessera.schemas.signature import Signature
from tessera.schemas.validation import Validator

_MOST_PATTERNS = 32
"""A name that fits one pattern must fit no other. With more patterns, any name may come."""
_MOST_CONDITIONAL = 64
"""No grammar can know which of them a call needs: any of these may come, and no more."""
_NOT_ONE_BY_ONE = ("patternProperties", "enum", "const")
_ONE_BY_ONE = "this model writes parameters one by one"
# No parameter can have this name, since the parser drops blanks.
_UNLISTED = "\n"


class XmlCall:
    """The call of one tool, whose checked schema is `document`."""

    def __init__(
        self, rules: Rules, tool: Tool, document: Document, *, param: str, markup: ParameterMarkup
    ) -> None:
        """Errors name the schema by `param`."""
        self._rules = rules
        self._tool = tool
        self._param = param
        self._signature = Signature(tool.parameters)
        self._markup = markup
        self._document = document
        self._has_pattern: dict[str, bool] = {}
        self._values = ParameterValues(rules, document, markup)
        self._parameters = parameters_of(document, rules.work)

    def rule(self) -> str:
        """The rule for what stands between the tags of the call."""
        if self._signature.union:
            self._relax(f"`{self._signature.union}`: {_ONE_BY_ONE}")
        for keyword in _NOT_ONE_BY_ONE:
            if keyword in self._parameters.keywords:
                self._relax(f"`{keyword}`: {_ONE_BY_ONE}")
        tags = self._markup.tags
        required = self._parameters.required
        listed = [*self._parameters.named.items()]
        if tags.by_name:
            listed.sort(key=lambda parameter: parameter[0].lower())
        named = [(rule, name in required) for name, schema in listed if (rule := self._named(name, schema))]
        others = self._others()
        if not any(others) and not self._parameters.closed:
            named += [(rule, False) for name in self._conditional() if (rule := self._named(name, True))]
        if not named and not any(others) and not self._may_be_empty():
            self._relax("`properties`: this model's calls hold what it names, and nothing that fits is named")
            others = [] if self._parameters.closed or required else [self._other("", True)]
        begin = literal(f"{tags.function}{self._tool.name}{tags.name_end}{tags.line}")
        end = literal(f"{tags.function_end}{tags.line}") if tags.function_end else ""
        parameters = self._sequence(named, " | ".join(filter(None, others)))
        return self._rules.add("call", f"{begin} {parameters} {end}")

    def _conditional(self) -> list[str]:
        """The parameters that only relaxed keywords list, such as `then`."""
        found = [name for name in self._signature.conditional() if name not in self._parameters.named]
        return found[:_MOST_CONDITIONAL]

    def _others(self) -> list[str | None]:
        others = self._parameters.others
        if len(others) > _MOST_PATTERNS:
            return [self._other("", True)]
        return [self._other(pattern, schema) for pattern, schema in others.items()]

    def _may_be_empty(self) -> bool:
        try:
            return ShortCheck(self._tool.parameters).holds(self._tool.parameters, {}) is not False
        except TooLong:
            return True

    def _relax(self, problem: str) -> None:
        if self._tool.strict:
            raise SchemaProblem("", problem).refusal(self._param)

    def _named(self, name: str, schema: AnySchema) -> str | None:
        """The rule for a parameter; None if no value can be written."""
        if not name or any(c in name for c in self._markup.tags.not_in_names) or name != name.strip():
            self._relax(
                f"`properties`: a parameter named {name[:50]!r} cannot be written in this model's calls"
            )
            return None
        value = self._values.rule(
            schema,
            lambda constant: self._signature.fits(name, constant) and self._matches(name, constant),
            only_text=self._signature.only_text(name),
        )
        if value is None:
            if name in self._parameters.required:
                self._relax(f"`required`: nothing fits the parameter {name[:50]!r}")
            return None
        opening = self._markup.opening(name)
        return self._rules.add("parameter", f"{opening} {value}")

    def _matches(self, name: str, constant: Json) -> bool:
        """Whether a constant fits patterns and formats, which the signature does not check."""
        if not isinstance(constant, str):
            return True
        if name not in self._has_pattern:
            schema = self._parameters.named.get(name, True)
            parts = self._document.in_place(schema, self._rules.work, "anyOf")
            self._has_pattern[name] = any("pattern" in part for part in parts)
        if not self._has_pattern[name]:
            return True
        self._rules.work.spend()
        return self._validator.may_hold(name, constant)

    @cached_property
    def _validator(self) -> Validator:
        return Validator(self._tool.parameters)

    def _other(self, pattern: str, schema: AnySchema) -> str | None:
        """The rule for a parameter whose name the model chooses; None if no value can be written."""
        value = self._values.rule(schema, lambda _: True, only_text=self._signature.only_text(_UNLISTED))
        if value is None:
            return None
        name = [self._name(), *([whole_match(pattern)] if pattern else [])]
        if listed := "|".join(map(quoted, self._parameters.named)):
            name.append(f"~{expression(f'(?:{listed})')}")
        if len(self._parameters.others) <= _MOST_PATTERNS:
            name += [f"~{whole_match(each)}" for each in self._parameters.others if each not in ("", pattern)]
        opening = self._markup.opening_of_any(f"({' & '.join(name)})", self._rules)
        return self._rules.add("parameter", f"{opening} {value}")

    def _name(self) -> str:
        """The terminal for names. A name stands on one line. The parser drops blanks around it."""
        excluded = re.escape(self._markup.tags.not_in_names)
        edge, inner = rf"[^{excluded}\s\x00-\x1f]", rf"[^{excluded}\x00-\x1f]"
        return expression(f"{edge}(?:{inner}*{edge})?")

    def _sequence(self, named: Sequence[tuple[str, bool]], other: str) -> str:
        """The named parameters in their order, then any number of `other` within the bounds."""
        n_required = sum(required for _, required in named)
        n_optional = len(named) - n_required
        least = max(self._signature.least - n_required, 0)
        most = self._parameters.most
        if least > 1 and n_optional:
            self._relax("`minProperties`: above 1, only with every property required")
        if most is not None and n_optional and (other or most < len(named)):
            self._relax("`maxProperties`: only with every property required")
        if other := "" if most is not None and most <= n_required else other:
            other = self._rules.add("other", other)
        bounds = 0 if n_optional else least, None if most is None else most - n_required
        needs_one = bool(least and n_optional and not n_required)
        if self._markup.tags.separator:
            return self._separated(named, other, bounds, needs_one=needs_one)
        if needs_one:
            return self._one_at_least([rule for rule, _ in named], other)
        if other:
            other += _count(*bounds)
        return " ".join([*(rule if required else f"{rule}?" for rule, required in named), other])

    def _separated(
        self,
        named: Sequence[tuple[str, bool]],
        other: str,
        bounds: tuple[int, int | None],
        *,
        needs_one: bool,
    ) -> str:
        """The parameters with separators between them: `first` are the ways to write some of them where none
        precedes, `rest` is what follows one.
        """
        separator = literal(self._markup.tags.separator)
        least, most = bounds
        may_be_empty = not (needs_one or least)
        first, rest = list[str](), ""
        if other:
            rest = f"({separator} {other}){_count(least, most)}"
            more = None if most is None else most - 1
            first = [
                other if more == 0 else f"{other} ({separator} {other}){_count(max(least - 1, 0), more)}"
            ]
        for rule, is_required in reversed(named):
            after = self._rules.add("rest", rest) if rest else ""
            first = [f"{rule} {after}", *([] if is_required else first)]
            rest = f"{separator} {rule} {after}" if is_required else f"({separator} {rule})? {after}"
            may_be_empty = may_be_empty and not is_required
        return f"({' | '.join(first)}){'?' if may_be_empty else ''}" if first else ""

    def _one_at_least(self, optional: Sequence[str], other: str) -> str:
        """Optional parameters in their order. At least one of them must come."""
        rest, some = (f"{other}*", f"{other}+") if other else ("", "")
        for rule in reversed(optional):
            some = self._rules.add("some", f"{rule} {rest}" + (f" | {some}" if some else ""))
            rest = self._rules.add("rest", f"{rule}? {rest}")
        return some


def _count(least: int, most: int | None) -> str:
    return f"{{{least},{'' if most is None else max(least, most)}}}" if most is not None or least else "*"
