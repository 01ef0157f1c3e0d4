r"""The whole assistant turn as one grammar, reasoning included, so that engines need no notion of modes.

    turn   = [ reasoning "\n\n" ] answer
    answer = text                                   without a schema, or calls not wanted
           | JSON                                   response_format
           | [ text ] call { "\n" call }            tools; other families: framed_calls.py
    call   = <tool_call> "\n" … "\n" </tool_call>   what stands between: calls.py

Text never contains a call. Control tokens cannot be matched by text; tags that are ordinary text are
excluded, and so is the opening of a call that the parser would accept without its tag. The same holds for
reasoning: no call can hide in it. Since an answer must follow, the turn cannot end in the reasoning. The
grammar is complete where the turn may end; the engine adds the token that ends it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import assert_never

from tessera.core.chat import AnyJsonObject, ChatRequest, FreeText, JsonSchema, Mode, Tool
from tessera.core.generation import Grammar
from tessera.errors import InvalidSchema
from tessera.grammars import harmony
from tessera.grammars.calls import arguments_object, call_body, opening_without_tag
from tessera.grammars.framed_calls import bare_opening, framed_calls
from tessera.grammars.lark import Rules, json_value, literal, markup, quoted, without
from tessera.parsing.harmony import CHANNEL, END, START
from tessera.parsing.syntax import Syntax, Tags
from tessera.schemas.check import check_schema
from tessera.schemas.references import AnySchema, Document
from tessera.schemas.work import Work

MAX_TOOLS_BYTES = 512 * 2**10


def build_grammar(
    request: ChatRequest,
    syntax: Syntax,
    control_tokens: Mapping[str, int],
    levels: Mapping[str, int] = MappingProxyType({}),
    work: Work | None = None,
) -> Grammar | None:
    """The grammar of the reply; None if it may be any text.

    `levels` has the level of relaxation (`keywords.LEVELS`) for each parameter whose schema is not on the
    first. Raises `InvalidSchema` for schemas that cannot be enforced, and `TooMuchWork`. `relaxation` finds
    out whether the grammar can be used.
    """
    if not request.tools and isinstance(request.answer_format, FreeText):
        return None
    turn = _TurnGrammar(request, syntax, control_tokens, levels=levels, rules=Rules(work))
    return Grammar(turn.rules.text(turn.reasoning() + turn.answer()))


class _TurnGrammar:
    """Builds the grammar of one turn. Each method returns what stands in its place in the start rule."""

    def __init__(
        self,
        request: ChatRequest,
        syntax: Syntax,
        control_tokens: Mapping[str, int],
        *,
        levels: Mapping[str, int],
        rules: Rules,
    ) -> None:
        self._request = request
        self._syntax = syntax
        self._control = control_tokens
        self._levels = levels
        self.rules = rules
        self._documents = _checked_parameters(request, levels, rules.work)
        self._callable: Mapping[str, Tool] = request.callable_tools if syntax.calls != "none" else {}
        self._openings = opening_without_tag(syntax.calls, self._callable)
        ending = syntax.call.open if syntax.call and request.tools else ""
        if syntax.calls == "harmony":
            self._openings = [quoted(tag) for tag in (START, CHANNEL) if tag not in control_tokens]
            ending = END
        spelled = self._spelled(ending)
        form = syntax.form
        self._bare = form is not None and form.bare and request.calls_may_be_bare
        begins_call = bare_opening(form, self._callable) if form and self._bare and self._callable else ""
        anywhere = [*self._openings, *([quoted(spelled)] if spelled else [])]
        self._text = self.rules.add("TEXT", without(*anywhere, at_start=begins_call))

    def reasoning(self) -> str:
        tags = self._syntax.reasoning
        after = " ".join(map(self._tag, self._syntax.after_close))
        if self._request.mode is not Mode.THINKING or tags is None:
            return f"{after} " if self._syntax.begins_answer else ""
        text = self._before() if self._syntax.calls == "harmony" else self._text
        return f"{self._text_until(tags.close, text)} {after} "

    def answer(self) -> str:
        plain = self._plain()
        if self._syntax.calls == "harmony":
            return self._messages(plain)
        tags = self._syntax.call
        if not self._callable or tags is None:
            return plain
        after = self._framed() if self._syntax.form else self._tagged(tags)
        calls = after if self._bare else f"{self._tag(tags.open)} {after}"
        if self._request.tool_choice.mode == "required":
            return calls
        if isinstance(self._request.answer_format, FreeText) and not self._bare:
            return f"({plain} | {self._text_until(tags.open, self._before())} {after})"
        return f"({plain} | {calls})"

    def _before(self) -> str:
        """The terminal for text up to a tag that ends it."""
        return self.rules.add("TEXT", without(*self._openings))

    def _messages(self, final: str) -> str:
        return harmony.messages(
            self.rules,
            self._tag,
            text=self._text_until(END, self._before())
            if isinstance(self._request.answer_format, FreeText)
            else None,
            final=None if self._callable and self._request.tool_choice.mode == "required" else final,
            arguments=self._arguments(),
        )

    def _plain(self) -> str:
        match self._request.answer_format:
            case FreeText():
                return self._text
            case AnyJsonObject():
                return self.rules.add("json", json_value({"type": "object"}))
            case JsonSchema(schema=schema, strict=strict, param=param):
                level = self._levels.get(param, 0)
                document = check_schema(schema, strict=strict, param=param, level=level, work=self.rules.work)
                return self.rules.add("json", json_value(document.standing_alone(document.root)))
            case _:
                assert_never(self._request.answer_format)

    def _framed(self) -> str:
        """All calls without the opening tag, in the family's form."""
        form = self._syntax.form
        assert form is not None
        return framed_calls(self.rules, form, self._tag, self._arguments(), one_call=self._request.one_call)

    def _arguments(self) -> dict[str, str]:
        """What the arguments of each function that may be called may be, as one JSON object."""
        return {name: arguments_object(tool, self._documents[name]) for name, tool in self._callable.items()}

    def _tagged(self, tags: Tags) -> str:
        """All calls without the opening tag, each in tags of its own."""
        body = self._body(tags)
        if self._request.one_call:
            return body
        call = self.rules.add("call", f"{self._tag(tags.open)} {body}")
        return f"{body} ({markup(self._syntax.line, {})} {call})*"

    def _body(self, tags: Tags) -> str:
        """A call without its opening tag."""
        calls = " | ".join(
            self._call(tool, i, tags.close)
            for i, tool in enumerate(self._request.tools)
            if tool.name in self._callable
        )
        return self.rules.add(
            "body", f"{markup(self._syntax.call_line, {})} ({calls}) {self._tag(tags.close)}"
        )

    def _call(self, tool: Tool, index: int, close: str) -> str:
        return call_body(
            self.rules,
            tool,
            self._documents[tool.name],
            param=_param(tool, index),
            style=self._syntax.calls,
            close=close,
            control_tokens=self._control,
        )

    def _text_until(self, tag: str, text: str) -> str:
        """Text, up to and including the first occurrence of the tag."""
        if self._spelled(tag):
            return self.rules.add("until", text, options=f"suffix={literal(tag)}")
        return f"{text} {self._tag(tag)}"

    def _spelled(self, tag: str) -> str | None:
        """The tag, if that tag is ordinary text."""
        return None if tag in self._control else tag

    def _tag(self, tag: str) -> str:
        return markup(tag, self._control)


def _checked_parameters(request: ChatRequest, levels: Mapping[str, int], work: Work) -> dict[str, Document]:
    """The checked schemas of all tools by name, whether they may be called or not."""
    documents: dict[str, Document] = {}
    n_bytes = 0
    for i, tool in enumerate(request.tools):
        param = _param(tool, i)
        documents[tool.name] = check_schema(
            tool.parameters, strict=tool.strict, param=param, level=levels.get(param, 0), work=work
        )
        n_bytes += len(json.dumps(tool.parameters))
        if n_bytes > MAX_TOOLS_BYTES:
            raise InvalidSchema(
                f"The schemas of all tools are more than {MAX_TOOLS_BYTES} bytes.", param="tools"
            )
    return documents


def schemas_of(request: ChatRequest) -> Iterator[tuple[str, AnySchema]]:
    """The schemas by which a reply is validated, with the parameter of each."""
    if isinstance(form := request.answer_format, JsonSchema):
        yield form.param, form.schema
    yield from ((_param(tool, i), tool.parameters) for i, tool in enumerate(request.tools))


@dataclass(frozen=True, slots=True)
class SingleSchema:
    """One schema of a request's grammar, with its parameter. `alone` is the request with no other schema, in
    which its parameter is `alone_param`.
    """

    param: str
    strict: bool
    alone: ChatRequest
    alone_param: str


def single_schemas(request: ChatRequest) -> Iterator[SingleSchema]:
    """The schemas of the request's grammar, one by one."""
    if isinstance(form := request.answer_format, JsonSchema):
        yield SingleSchema(form.param, form.strict, alone=replace(request, tools=()), alone_param=form.param)
    names = request.callable_tools.keys()
    for i, tool in enumerate(request.tools):
        if tool.name in names:
            alone = replace(request, tools=(tool,), answer_format=FreeText())
            yield SingleSchema(_param(tool, i), tool.strict, alone=alone, alone_param=_param(tool, 0))


def _param(tool: Tool, index: int) -> str:
    return tool.param or f"tools[{index}].function.parameters"
