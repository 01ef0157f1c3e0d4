"""Renders by a model's own Jinja template, as `transformers` does.

The template is not trusted. It runs in a sandbox without access to the internals of Python objects, and the
size of what it renders or repeats is bounded. Its time and its other memory are not: the service runs it only
in processes that can be killed (`formats.template_process`).
"""

import json
from collections.abc import Iterable, Mapping, Sized
from datetime import datetime
from typing import NoReturn

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tessera.core.chat import ChatRequest, Json, UserMessage
from tessera.core.generation import SamplingDefaults
from tessera.errors import RequestError, StartupError
from tessera.formats.base import ChatFormat, Segment
from tessera.formats.conversation import TemplateSource, with_user_turn

MAX_CHARACTERS = 16 * 2**20
"""The most characters of a rendering, and of a text that a template repeats."""


class Template:
    """A compiled template."""

    def __init__(self, source: str) -> None:
        """Raises `StartupError` for a template that does not compile."""
        try:
            self._template = _Sandbox().from_string(source, globals=_GLOBALS)
        except TemplateError as error:
            raise StartupError(f"The chat template does not compile: {error}") from error

    def text(self, variables: Mapping[str, Json]) -> str:
        """Renders. Raises `RequestError`, whose cause is what the template raised."""
        try:
            return _bounded(self._template.generate(variables))
        except Refused as error:
            problem = f"The model's template refuses this conversation: {error}"
            raise RequestError(problem, param="messages") from error
        except Exception as error:  # a template can raise anything, and quote the conversation
            problem = f"The model's template cannot render this conversation ({type(error).__name__})."
            raise RequestError(problem, param="messages") from error


def template_format(source: TemplateSource, defaults: SamplingDefaults) -> ChatFormat:
    """A format that renders with the template in this process.

    Raises `StartupError` for a template that does not compile, does something that the sandbox forbids or
    cannot render a greeting.
    """
    template = Template(source.source)

    def written(request: ChatRequest) -> tuple[Segment, ...]:
        conversation = source.conversation(request)
        return conversation.segments(template.text(conversation.variables))

    def render(request: ChatRequest) -> tuple[Segment, ...]:
        try:
            return written(request)
        except RequestError:
            if (completed := with_user_turn(request)) is None:
                raise
            return written(completed)

    try:
        written(ChatRequest(messages=(UserMessage("Hello"),)))
    except RequestError as error:
        if not isinstance(error.__cause__, Refused):  # it asks for more than a greeting
            raise StartupError(f"The chat template cannot be used: {error.__cause__}") from error
    return source.format(defaults, render)


def _bounded(parts: Iterable[str]) -> str:
    rendered: list[str] = []
    size = 0
    for part in parts:
        size += len(part)
        if size > MAX_CHARACTERS:
            raise SecurityError(f"it renders more than {MAX_CHARACTERS} characters")
        rendered.append(part)
    return "".join(rendered)


class Refused(TemplateError):
    """The template called `raise_exception`."""


class _GenerationBlock(Extension):
    """`{% generation %}…{% endgeneration %}` marks what to train on. Here it only renders its body."""

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
            trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, "jinja2.ext.loopcontrols"]
        )
        self.filters["tojson"] = _tojson  # pyright: ignore[reportUnknownMemberType]
        self.globals.pop("lipsum")  # pyright: ignore[reportUnknownMemberType]

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Refuses products that would be too large."""
        lengths = [len(x) for x in (left, right) if isinstance(x, Sized)]
        times = [x for x in (left, right) if isinstance(x, int)]
        if operator == "**" and times and max(times) > 64:
            raise SecurityError("a power that is too high")
        if lengths and times and lengths[0] * times[0] > MAX_CHARACTERS:
            raise SecurityError("a repetition that is too long")
        return super().call_binop(context, operator, left, right)


def _raise_exception(message: str) -> NoReturn:
    raise Refused(message)


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
    """Unlike Jinja's own filter, keeps the order of keys and escapes nothing for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
