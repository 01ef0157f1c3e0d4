"""The question for a grammar, the set-up that all questions share, and the answer of the process."""

from dataclasses import dataclass
from typing import Any

import msgspec

from tessera.core.chat import (
    AnswerFormat,
    AnyJsonObject,
    ChatRequest,
    FreeText,
    JsonSchema,
    Mode,
    Tool,
    ToolChoice,
)
from tessera.parsing.syntax import Syntax
from tessera.schemas.bounds import SchemaProblem

TOO_MUCH = "it takes too much time or memory to compile"
NESTED_TOO_DEEPLY = SchemaProblem("", "it is nested too deeply")


@dataclass(frozen=True, slots=True)
class GrammarLimits:
    """The most that a grammar may cost an engine for one token, in llguidance's units: items of the parser,
    and steps of the lexer. A thousand optional properties are within the default.
    """

    items_in_row: int = 10_000
    lexer_fuel: int = 500_000


class GrammarSetup(msgspec.Struct):
    """What all grammars of one model have in common."""

    vocabulary_size: int
    control_tokens: dict[str, int]
    syntax: Syntax
    limits: GrammarLimits = GrammarLimits()


class GrammarQuestion(msgspec.Struct):
    """The parts of a `ChatRequest` that its grammar depends on."""

    tools: list[tuple[str, dict[str, Any], bool, str]]
    tool_choice: ToolChoice
    one_call: bool
    thinking: bool
    any_object: bool
    answer: tuple[dict[str, Any] | bool, bool, str] | None

    def request(self) -> ChatRequest:
        """A request that has the same grammar."""
        form: AnswerFormat = AnyJsonObject() if self.any_object else FreeText()
        if self.answer is not None:
            form = JsonSchema("answer", *self.answer)
        return ChatRequest(
            messages=(),
            mode=Mode.THINKING if self.thinking else Mode.DIRECT,
            tools=tuple(
                Tool(name, schema, definition={}, strict=strict, param=param)
                for name, schema, strict, param in self.tools
            ),
            tool_choice=self.tool_choice,
            parallel_tool_calls=not self.one_call,
            answer_format=form,
        )


def question(request: ChatRequest) -> GrammarQuestion:
    """The question for the grammar of a request."""
    form = request.answer_format
    return GrammarQuestion(
        tools=[(tool.name, dict(tool.parameters), tool.strict, tool.param) for tool in request.tools],
        tool_choice=request.tool_choice,
        one_call=request.one_call,
        thinking=request.mode is Mode.THINKING,
        any_object=isinstance(form, AnyJsonObject),
        answer=(form.schema if isinstance(form.schema, bool) else dict(form.schema), form.strict, form.param)
        if isinstance(form, JsonSchema)
        else None,
    )


class GrammarAnswer(msgspec.Struct):
    """The grammar, or why there can be none; neither if the reply may be any text."""

    lark: str | None = None
    problem: str | None = None
    param: str | None = None
