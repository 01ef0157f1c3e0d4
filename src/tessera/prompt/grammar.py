r"""The whole assistant turn as one grammar, reasoning included, so that engines need no notion of modes.

    turn   = [ reasoning "\n\n" ] answer
    answer = text                                  without a schema, or calls not wanted
           | JSON                                  response_format
           | [ text ] call { "\n" call }           tools
    call   = <tool_call> "\n" … "\n" </tool_call>   what stands between: prompt/grammar_calls.py

Text never holds a call: where the tags are control tokens, text cannot match them; where they are spelled,
they are excluded, and so is the opening of a call that the parser would accept without its tag. Reasoning is
such text too: a call cannot hide in it, and since something must follow, the turn cannot end in it. The
grammar is complete where the turn may end; the token that ends it is the engine's.
"""

from collections.abc import Mapping, Sequence
from typing import assert_never

from tessera.core.chat import AnyJsonObject, ChatRequest, FreeText, JsonSchema, Mode, Tool
from tessera.core.generation import Grammar
from tessera.parsing.syntax import Syntax, Tags
from tessera.prompt.grammar_calls import call_body, opening_without_tag
from tessera.prompt.lark import Rules, json_value, literal, quoted, without
from tessera.prompt.schema import check_schema

ANSWER_PARAM = "response_format.json_schema.schema"


def build_grammar(request: ChatRequest, syntax: Syntax, control_tokens: Mapping[str, int]) -> Grammar | None:
    """The grammar of the reply; None if anything may be said.

    Raises `InvalidSchema` for schemas that cannot be enforced. That the grammar compiles within bounds is
    checked by `prompt.compiling`.
    """
    if not request.tools and isinstance(request.answer_format, FreeText):
        return None
    turn = _Turn(request, syntax, control_tokens)
    return Grammar(turn.rules.text(turn.reasoning() + turn.answer()))


class _Turn:
    def __init__(self, request: ChatRequest, syntax: Syntax, control_tokens: Mapping[str, int]) -> None:
        self._request, self._syntax, self._control = request, syntax, control_tokens
        self._tools = callable_tools(request) if syntax.call else ()
        self.rules = Rules()
        self._text = self.rules.add("TEXT", without(*self._excluded()))

    def reasoning(self) -> str:
        tags = self._syntax.reasoning
        if self._request.mode is not Mode.THINKING or tags is None:
            return ""
        return f'{self._text_until(tags.close)} "\\n\\n" '

    def answer(self) -> str:
        plain = self._plain()
        tags = self._syntax.call
        if not self._tools or tags is None:
            return plain
        body = self._body(tags)
        call = self.rules.add("call", f"{self._tag(tags.open)} {body}")
        more = f' ("\\n" {call})*' if self._request.parallel_tool_calls else ""
        if self._request.tool_choice.mode == "required":
            return call + more
        if isinstance(self._request.answer_format, FreeText):
            return f"({plain} | {self._text_until(tags.open)} {body}{more})"
        return f"({plain} | {call}{more})"

    def _plain(self) -> str:
        match self._request.answer_format:
            case FreeText():
                return self._text
            case AnyJsonObject():
                return self.rules.add("json", json_value({"type": "object"}))
            case JsonSchema(schema=schema, strict=strict):
                document = check_schema(schema, strict=strict, param=ANSWER_PARAM)
                return self.rules.add("json", json_value(document.standing_alone(document.root)))
            case _:
                assert_never(self._request.answer_format)

    def _body(self, tags: Tags) -> str:
        """All of a call but its opening tag."""
        calls = " | ".join(
            call_body(self.rules, tool, f"tools[{i}].function.parameters", self._syntax)
            for i, tool in enumerate(self._request.tools)
            if tool in self._tools
        )
        return self.rules.add("body", f'"\\n" ({calls}) {self._tag(tags.close)}')

    def _excluded(self) -> list[str]:
        tags = self._syntax.call
        if tags is None or not self._request.tools:
            return []
        spelled = [quoted(tag) for tag in (tags.open,) if tag not in self._control]
        return spelled + opening_without_tag(self._syntax, [tool.name for tool in self._tools])

    def _text_until(self, tag: str) -> str:
        if tag in self._control:
            return f"{self._text} {self._tag(tag)}"
        # A suffix ends the text where it first occurs.
        return self.rules.add("until", self._text_before(tag), options=f"suffix={literal(tag)}")

    def _text_before(self, tag: str) -> str:
        call = self._syntax.call
        if call is None or tag != call.open:
            return self._text
        others = opening_without_tag(self._syntax, [tool.name for tool in self._tools])
        return self.rules.add("TEXT", without(*others))

    def _tag(self, tag: str) -> str:
        return f"<[{self._control[tag]}]>" if tag in self._control else literal(tag)


def callable_tools(request: ChatRequest) -> Sequence[Tool]:
    """The tools that the reply may call."""
    choice = request.tool_choice
    if choice.mode == "none":
        return ()
    return [tool for tool in request.tools if choice.names is None or tool.name in choice.names]
