"""Any model's own Jinja template, rendered as `transformers` renders it, with two differences.

The conversation cannot write markup: whatever its strings spell of control tokens is replaced by stand-ins
before the template runs, and put back as plain text after the rendering was cut at the control tokens that
the template wrote. And the template is not trusted: it runs in a sandbox, without the insides of Python
objects, and what it renders or makes by repetition is bounded in size. Nothing else of its time and memory
is: one that takes too much shows at start-up, when it is first rendered, and only the operator chooses it.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sized
from dataclasses import replace
from datetime import datetime
from typing import NoReturn, assert_never

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tessera.core.chat import (
    AssistantMessage,
    ChatRequest,
    Json,
    Message,
    Mode,
    SystemMessage,
    ToolMessage,
    UserMessage,
)
from tessera.errors import RequestError, StartupError
from tessera.formats.arguments import as_mapping
from tessera.formats.base import ChatFormat, Control, Plain, SamplingDefaults, Segment
from tessera.parsing.syntax import Syntax, Tags

MAX_CHARACTERS = 16 * 2**20
"""Bounds a rendering, and whatever a template makes by repetition."""

_FIRST_STAND_IN, _LAST_STAND_IN = 0xF0000, 0x10FFFD  # the private-use planes


def template_format(
    source: str,
    *,
    control_tokens: Collection[str],
    eos: str,
    sampling: Mapping[Mode, SamplingDefaults],
    bos: str = "",
    name: str = "template",
) -> ChatFormat:
    """A format that renders with the template `source`; tools are not among what it can do.

    Raises `StartupError` for a template that does not compile, reaches for what the sandbox denies or cannot
    render a greeting.
    """
    try:
        template = _Sandbox().from_string(source, globals=_GLOBALS)
    except TemplateError as error:
        raise StartupError(f"The chat template does not compile: {error}") from error
    longest_first = sorted(control_tokens, key=len, reverse=True)
    markup = re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")

    def render(request: ChatRequest) -> tuple[Segment, ...]:
        stand_ins = _StandIns(markup)
        variables: dict[str, Json] = {
            "messages": [_masked(_message(message), stand_ins.mask) for message in request.messages],
            "tools": None,
            "add_generation_prompt": True,
            "enable_thinking": request.mode is Mode.THINKING,
            "preserve_thinking": request.preserve_thinking,
            "bos_token": bos,
            "eos_token": eos,
        }
        parts = markup.split(_bounded(template.generate(variables)))
        return tuple(
            Control(part) if i % 2 else Plain(stand_ins.restore(part)) for i, part in enumerate(parts) if part
        )

    _greet(render)
    reasoning = Tags("<think>", "</think>") if "</think>" in source else None
    return ChatFormat(name, _refusing(render), Syntax(ends=(eos,), reasoning=reasoning), sampling)


_Render = Callable[[ChatRequest], tuple[Segment, ...]]


def _greet(render: _Render) -> None:
    try:
        render(ChatRequest(messages=(UserMessage("Hello"),)))
    except _Refused:
        pass  # it wants more than a greeting, and says so
    except Exception as error:  # a template can raise anything
        raise StartupError(f"The chat template cannot be used: {error}") from error


def _refusing(render: _Render) -> _Render:
    """Turn what the template raises into a `RequestError`."""

    def guarded(request: ChatRequest) -> tuple[Segment, ...]:
        try:
            return _render_as_it_stands(render, request)
        except _Refused as error:
            refusal = f"The model's template refuses this conversation: {error}"
        except Exception as error:  # a template can raise anything, and quote the conversation
            refusal = f"The model's template cannot render this conversation ({type(error).__name__})."
        raise RequestError(refusal, param="messages")

    return guarded


def _render_as_it_stands(render: _Render, request: ChatRequest) -> tuple[Segment, ...]:
    """Many templates want a user's turn; a conversation without one then gets an empty one."""
    messages = request.messages
    try:
        return render(request)
    except Exception:
        if any(isinstance(message, UserMessage) for message in messages):
            raise
    n_leading = int(isinstance(messages[0], SystemMessage)) if messages else 0
    completed = (*messages[:n_leading], UserMessage(""), *messages[n_leading:])
    return render(replace(request, messages=completed))


class _StandIns:
    """One private-use character for each control token that the conversation spells, and for each such
    character that it holds itself, so that `restore` knows them apart.
    """

    def __init__(self, markup: re.Pattern[str]) -> None:
        self._special = re.compile(f"{markup.pattern}|[{chr(_FIRST_STAND_IN)}-{chr(_LAST_STAND_IN)}]")
        self._of: dict[str, str] = {}

    def mask(self, text: str) -> str:
        return self._special.sub(lambda found: self._stand_in(found[0]), text)

    def _stand_in(self, special: str) -> str:
        return self._of.setdefault(special, chr(_FIRST_STAND_IN + len(self._of)))

    def restore(self, text: str) -> str:
        return text.translate({ord(stand_in): special for special, stand_in in self._of.items()})


def _masked(value: Json, mask: Callable[[str], str]) -> Json:
    match value:
        case str():
            return mask(value)
        case Mapping():
            return {mask(key): _masked(item, mask) for key, item in value.items()}
        case bool() | int() | float() | None:
            return value
        case _:
            return [_masked(item, mask) for item in value]


def _message(message: Message) -> dict[str, Json]:
    """The message as OpenAI's object, which is what templates are written for."""
    match message:
        case SystemMessage():
            return {"role": "system", "content": message.text}
        case UserMessage():
            return {"role": "user", "content": message.text}
        case ToolMessage():
            return {"role": "tool", "content": message.text, "tool_call_id": message.tool_call_id}
        case AssistantMessage():
            functions = (
                (c.id, {"name": c.name, "arguments": as_mapping(c.arguments)}) for c in message.tool_calls
            )
            calls: list[Json] = [{"id": id, "type": "function", "function": each} for id, each in functions]
            return {
                "role": "assistant",
                "content": None if calls and not message.text else message.text,
                **({"tool_calls": calls} if calls else {}),
                **({} if message.reasoning is None else {"reasoning_content": message.reasoning}),
            }
        case _:
            assert_never(message)


def _bounded(parts: Iterable[str]) -> str:
    rendered: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_CHARACTERS:
            raise SecurityError(f"it renders more than {MAX_CHARACTERS} characters")
        rendered.append(part)
    return "".join(rendered)


class _Refused(TemplateError):
    """The template called `raise_exception`."""


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}` marks the model's words, for training: it is its body."""

    tags: set[str] = {"generation"}  # noqa: RUF012 - declared so by the library

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The environment of `transformers`, within bounds."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
        )
        self.filters["tojson"] = _tojson
        self.globals.pop("lipsum")

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Refuse products that would not fit."""
        lengths = [len(x) for x in (left, right) if isinstance(x, Sized)]
        times = [x for x in (left, right) if isinstance(x, int)]
        if operator == "**" and times and max(times) > 64:
            raise SecurityError("a power that is too high")
        if lengths and times and lengths[0] * times[0] > MAX_CHARACTERS:
            raise SecurityError("a repetition that is too long")
        return super().call_binop(context, operator, left, right)


def _raise_exception(message: str) -> NoReturn:
    raise _Refused(message)


def _strftime_now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


_GLOBALS = {"raise_exception": _raise_exception, "strftime_now": _strftime_now}


def _tojson(
    value: Json,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own: keys stay in order, and nothing is escaped for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
