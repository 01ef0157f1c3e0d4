"""How the parameters of a call are marked up, as rules. Tags are control tokens or text."""

from collections.abc import Mapping
from dataclasses import dataclass

from tessera.grammars.lark import Rules, literal, markup, quoted
from tessera.parsing.xml_tags import XmlTags


@dataclass(frozen=True, slots=True)
class ParameterMarkup:
    """How parameters are marked up: the tags, and `close`, the tag that ends calls."""

    tags: XmlTags
    close: str
    control_tokens: Mapping[str, int]

    @property
    def is_spelled(self) -> bool:
        """Whether what ends a raw value is ordinary text."""
        return (self.tags.quote or self.tags.value_end) not in self.control_tokens

    @property
    def names_are_spelled(self) -> bool:
        """Whether what ends a name is ordinary text."""
        return self.tags.key_end not in self.control_tokens

    def opening(self, name: str) -> str:
        """What stands before the value of a parameter with this name."""
        before, after = self._around_name
        if self.names_are_spelled:
            return literal(before + name + after)
        return f"{before} {literal(name)} {after}"

    def opening_of_any(self, names: str, rules: Rules) -> str:
        """What stands before the value of a parameter with a name of this terminal."""
        before, after = self._around_name
        if not self.names_are_spelled:
            return f"{before} {rules.add('NAME', names)} {after}"
        # One terminal for the whole opening: halfway, the lexer could not tell it from those of listed
        # parameters.
        return rules.add("OPENING", f"{literal(before) if before else ''} {names} {literal(after)}")

    @property
    def _around_name(self) -> tuple[str, str]:
        """What stands before and after the name: texts if the tags are text, else rules."""
        tags = self.tags
        before, after = (tags.parameter,), (tags.key_end, tags.line, tags.value)
        if self.names_are_spelled:
            return "".join(before), "".join(after)
        spelled = [" ".join(markup(part, self.control_tokens) for part in parts) for parts in (before, after)]
        return spelled[0], spelled[1]

    @property
    def end(self) -> str:
        """The text that ends a raw value."""
        if self.tags.quote:
            return self.tags.quote
        return f"{self.tags.line if self.tags.value_lines else ''}{self.tags.value_end}{self.tags.line}"

    @property
    def end_rule(self) -> str:
        """What ends a value, as a rule; "" where nothing does."""
        if not self.tags.value_end:
            return ""
        if self.is_spelled:
            return literal(self.end)
        return f"{markup(self.tags.value_end, self.control_tokens)} {markup(self.tags.line, {})}"

    @property
    def endings(self) -> list[str]:
        """Expressions for what else ends a raw value for the parser."""
        tags = self.tags
        if not self.is_spelled:
            return []
        if tags.quote:
            return [quoted(tags.quote)]
        close = [] if self.close in self.control_tokens else [quoted(self.close)]
        ends = [quoted(tags.function_end)] if tags.function_end else close
        after = "|".join([quoted(tags.parameter), *ends])
        found = [rf"{quoted(tags.value_end)}\s*(?:{after})"]
        if tags.value_lines:
            found.append(rf"\n{quoted(tags.parameter)}")
        if tags.function_end and close:
            found.append(rf"{quoted(tags.function_end)}\s*{close[0]}")
        return found

    @property
    def ending_at_start(self) -> str:
        """What a value must not begin with."""
        return self.tags.parameter if self.is_spelled and self.tags.value_lines else ""
