"""Decodes the body of a chat request, and checks every field as far as no model is needed for it."""

from codecs import BOM_UTF8
from dataclasses import dataclass, fields, replace

import msgspec

from tessera.core.chat import ChatRequest, FreeText, Json, Mode, SamplingOptions
from tessera.errors import RequestError, UnsupportedParameter
from tessera.wire import request as wire
from tessera.wire.messages import read_messages
from tessera.wire.reading import check_depth, check_utf8, count_separators, decode, has_more_values
from tessera.wire.tools import read_format, read_tool_choice, read_tools

WITHOUT_EFFECT = frozenset(
    {
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""Accepted with any JSON value, and ignored."""

_SCHEMA = "send the schema as 'response_format' with the type json_schema."
REFUSED = {
    "functions": "send 'tools'.",
    "function_call": "send 'tool_choice'.",
    "audio": "this service reads and writes text only.",
    "web_search_options": "search yourself and send what was found as a message or a tool's result.",
    "chat_template": "the template is the server's; 'chat_template_kwargs' has its switches.",
    "prompt_embeds": "send text in 'messages'.",
    "structured_outputs": _SCHEMA,
    "guided_json": _SCHEMA,
    "guided_regex": "send a schema with a 'pattern' as 'response_format'.",
    "guided_choice": "send a schema with an 'enum' as 'response_format'.",
    "guided_grammar": "send a schema as 'response_format'.",
}
"""Fields that ask for something this service does not do, and what to do instead."""

MAX_STOP = 4

MAX_UNREAD = 100_000
"""About the most values in all ignored fields: checking millions would keep other requests waiting."""

MAX_VALUES = 100_000
"""About the most values in the whole body: tens of times as many as the longest conversations have."""

_NAMES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_REQUEST = msgspec.json.Decoder(wire.Request)
_ANYTHING: msgspec.json.Decoder[Json] = msgspec.json.Decoder()
_READ = frozenset(wire.Request.__struct_fields__)
_READ_INSIDE = {
    "chat_template_kwargs": frozenset(wire.TemplateKwargs.__struct_fields__),
    "stream_options": frozenset(wire.StreamOptions.__struct_fields__),
    "response_format": frozenset(
        {"type", *wire.JsonObjectFormat.__struct_fields__, *wire.JsonSchemaFormat.__struct_fields__}
    ),
}
_ASKS_NOTHING = {
    "functions": (b"[]",),
    "function_call": (b'"auto"', b'"none"'),
}
"""Values of refused fields, besides null, that ask for nothing."""


@dataclass(frozen=True, slots=True)
class ReplyOptions:
    """How the client wants its reply. `ignored` are the fields that it sent and that have no effect here."""

    stream: bool = False
    include_usage: bool = False
    ignored: tuple[str, ...] = ()


def decode_request(body: bytes) -> tuple[ChatRequest, ReplyOptions]:
    """Raises `RequestError`. What depends on the model is checked later."""
    body = body.removeprefix(BOM_UTF8)  # Windows writes it at the beginning of files, which clients then send
    ignored = _ignored(body)
    # The whole body is counted: of a name that is sent many times, every value is decoded.
    if has_more_values(body, MAX_VALUES):
        raise RequestError(f"The body has more than {MAX_VALUES:,} values: send less in one request.")
    sent = decode(_REQUEST, body)
    tools = read_tools(sent.tools or [])
    kwargs = sent.chat_template_kwargs or wire.TemplateKwargs()
    thinks = sent.enable_thinking if kwargs.enable_thinking is None else kwargs.enable_thinking
    answer_format = read_format(sent.response_format)
    stop = _stop(sent)
    if stop and not isinstance(answer_format, FreeText):
        stop, ignored = (), (*ignored, "stop")  # JSON ends by itself
    request = ChatRequest(
        messages=read_messages(sent.messages),
        model=sent.model or None,  # clients without a setting for it send an empty one
        mode=Mode.THINKING if thinks else Mode.DIRECT,
        preserve_thinking=bool(kwargs.preserve_thinking),
        tools=tools,
        tool_choice=read_tool_choice(sent.tool_choice, tools),
        parallel_tool_calls=sent.parallel_tool_calls is not False,
        answer_format=answer_format,
        sampling=_sampling(sent),
        max_output_tokens=_limit(sent, "max_completion_tokens", "max_tokens", least=1),
        thinking_budget_tokens=_limit(sent, "thinking_token_budget", "thinking_budget", least=0),
        stop=stop,
        n=_whole(sent.n) or 1,
        top_logprobs=_top_logprobs(sent),
    )
    return request, _options(sent, ignored)


def _ignored(body: bytes) -> tuple[str, ...]:
    """The names of ignored fields. Raises for a field that must not be ignored, or is not strict JSON."""
    check_utf8(body)
    fields = decode(_NAMES, body)
    if len(fields) > MAX_UNREAD:
        raise RequestError(f"The body has more than {MAX_UNREAD:,} fields: send those that have an effect.")
    unread = {name: bytes(value) for name, value in fields.items() if name not in _READ}
    for field, read in _READ_INSIDE.items():
        inside = (
            decode(_NAMES, value, field) if (value := bytes(fields.get(field, b""))).startswith(b"{") else {}
        )
        unread |= {f"{field}.{name}": bytes(inside[name]) for name in inside if name not in read}
    left = MAX_UNREAD
    for name, value in unread.items():
        left = _check_unread(name, value, left)
    return tuple(name for name in unread if name not in WITHOUT_EFFECT and name not in REFUSED)


def _check_unread(name: str, value: bytes, n_left: int) -> int:
    """Checks an ignored field. Returns how many values the fields after it may have."""
    param = name[:64]
    instead = REFUSED.get(name, _SCHEMA if name.startswith("guided_") else None)
    if instead and value not in (b"null", *_ASKS_NOTHING.get(name, ())):
        raise UnsupportedParameter(f"'{param}' is not supported here: {instead}", param=param)
    n_left -= 1 + count_separators(value)
    if n_left < 0:
        raise RequestError(
            f"'{param}' has no effect here, and such fields have more than {MAX_UNREAD:,} values: "
            "leave it out.",
            param=param,
        )
    check_depth(decode(_ANYTHING, value, param), param)
    return n_left


def _options(sent: wire.Request, ignored: tuple[str, ...]) -> ReplyOptions:
    options = sent.stream_options
    if options is not None and not sent.stream:
        raise RequestError("'stream_options' needs 'stream' to be true.", param="stream_options")
    include_usage = options is not None and bool(options.include_usage)
    return ReplyOptions(bool(sent.stream), include_usage, ignored)


def _stop(sent: wire.Request) -> tuple[str, ...]:
    stop = [sent.stop] if isinstance(sent.stop, str) else sent.stop or ()
    stop = tuple(filter(None, stop))
    if len(stop) > MAX_STOP:
        raise RequestError(f"Invalid 'stop': at most {MAX_STOP} strings.", param="stop")
    return stop


def _limit(sent: wire.Request, *fields: str, least: int) -> int | None:
    """The first of the fields that sets a limit: some clients send -1 for none."""
    limits = {field: _whole(getattr(sent, field)) for field in fields}
    for field, limit in limits.items():
        if limit == 0 < least:
            raise RequestError(f"Invalid '{field}': expected `int` >= {least}.", param=field)
    return next((limit for limit in limits.values() if limit not in (None, -1)), None)


def _sampling(sent: wire.Request) -> SamplingOptions:
    as_sent = {field.name: getattr(sent, field.name) for field in fields(SamplingOptions)}
    return replace(
        SamplingOptions(**as_sent),
        top_k=0 if sent.top_k == -1 else _whole(sent.top_k),  # -1 is vLLM's word for off
        seed=_whole(sent.seed),
        logit_bias=sent.logit_bias or {},
    )


def _top_logprobs(sent: wire.Request) -> int | None:
    wanted = _whole(sent.top_logprobs) or 0
    if wanted and not sent.logprobs:
        raise RequestError("'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    return wanted if sent.logprobs else None


def _whole(number: float | None) -> int | None:
    """A whole number, which may have been sent with a decimal point."""
    return None if number is None else int(number)
