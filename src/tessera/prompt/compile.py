"""Compiles a chat request into what the engine needs: token ids, a grammar, and the sampling."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

from tessera.catalog import Model
from tessera.core.chat import (
    AssistantMessage,
    Caller,
    ChatRequest,
    FreeText,
    Message,
    Mode,
    SamplingOptions,
)
from tessera.core.generation import Prompt, Sampling, SamplingDefaults, ThinkingBudget
from tessera.errors import ContextLengthExceeded
from tessera.formats.base import Control, Plain, Segment, Tag
from tessera.prompt.encode import TooManyTokens, encode
from tessera.prompt.support import check_support

# Encoding fewer characters takes less time than handing them to a thread.
_INLINE_CHARACTERS = 4_000

# No token is longer: the longest tokens of known vocabularies are runs of 128 blanks, and composing
# characters (NFC) only joins them inside far shorter tokens. A text of more characters cannot fit.
_TOKEN_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class CompiledPrompt:
    """A prompt that leaves room in the context, and a sampling whose `max_tokens` keeps within it."""

    prompt: Prompt
    sampling: Sampling


async def compile_prompt(request: ChatRequest, model: Model, caller: Caller) -> CompiledPrompt:
    """Renders and encodes the request, builds the grammar of its reply, and completes its sampling.

    Raises `UnsupportedParameter` for what this model cannot do, `ContextLengthExceeded` for a prompt that
    leaves no room for a token, `InvalidSchema` for a schema that cannot be enforced, and `RequestError` for
    a conversation that the format refuses.
    """
    check_support(request, model)
    grammar = None
    if request.tools or not isinstance(request.answer_format, FreeText):
        assert model.grammars is not None, "a model whose engine follows grammars has them"
        grammar = await model.grammars.grammar(request, caller.cache_salt)
    segments = await model.renderer.render(request, caller.cache_salt) if model.renderer else None
    if sum(map(_characters, request.messages)) < _INLINE_CHARACTERS and not request.tools:
        token_ids = _prompt_ids(request, model, caller, segments)
    else:
        work = partial(_prompt_ids, request, model, caller, segments)
        token_ids = await asyncio.wrap_future(model.encoding.call(caller.cache_salt, work))
    prompt = Prompt(
        token_ids,
        grammar,
        cache_salt=caller.cache_salt,
        priority=caller.priority,
        trace_id=caller.trace_id,
    )
    room = model.window_tokens(caller.context_tokens) - len(token_ids)
    return CompiledPrompt(prompt, _sampling(request, model, caller, room))


def check_length(request: ChatRequest, model: Model, caller: Caller) -> None:
    """Raises `ContextLengthExceeded` for messages that cannot fit, whatever their tokens are. It takes so
    little time that it runs before a request has a place at the engine. Templates may leave out texts, and
    formats the blanks around them.
    """
    if model.renderer is not None:
        return
    texts = (each.text.strip() for each in request.messages if not isinstance(each, AssistantMessage))
    window = model.window_tokens(caller.context_tokens)
    if (least := sum(map(len, texts)) // _TOKEN_CHARACTERS) >= window:
        raise _too_long(least, window, or_more=True)


def _characters(message: Message) -> int:
    if isinstance(message, AssistantMessage):
        arguments = sum(len(call.arguments) for call in message.tool_calls)
        return len(message.text) + len(message.reasoning or "") + arguments
    return len(message.text)


def _prompt_ids(
    request: ChatRequest, model: Model, caller: Caller, rendered: Sequence[Segment] | None
) -> tuple[int, ...]:
    window = model.window_tokens(caller.context_tokens)
    segments = model.format.render(request) if rendered is None else rendered
    if (least := sum(map(_length, segments)) // _TOKEN_CHARACTERS) >= window:
        raise _too_long(least, window, or_more=True)
    try:
        # Up to twice as many are counted, so that the message can tell by how much to shorten the prompt.
        token_ids = encode(
            segments, model.tokenizer, known=model.encoded, salt=caller.cache_salt, most=2 * window
        )
    except TooManyTokens as error:
        raise _too_long(error.n, window, or_more=True) from None
    if len(token_ids) >= window:
        raise _too_long(len(token_ids), window)
    return token_ids


def _length(segment: Segment) -> int:
    return 1 if isinstance(segment, Control) else len(segment.text)


def _too_long(n_tokens: int, window: int, *, or_more: bool = False) -> ContextLengthExceeded:
    """The error in OpenAI's words. LiteLLM, LangChain and agents look for them, and then shorten the
    conversation; LangChain looks for the last four words where the status is not 400.
    """
    resulted = f"your messages resulted in {n_tokens} tokens{' or more' if or_more else ''}"
    if n_tokens == window:
        resulted = (
            f"you requested at least {n_tokens + 1} tokens ({n_tokens} in the messages, 1 in the completion)"
        )
    return ContextLengthExceeded(
        f"This model's maximum context length is {window} tokens. However, {resulted}. "
        "Please reduce the length of the messages: this conversation exceeds the context window.",
        param="messages",
    )


def _sampling(request: ChatRequest, model: Model, caller: Caller, room: int) -> Sampling:
    """The sampling that the client asked for, completed by the model's defaults for the mode. It ends the
    reply within `room` tokens.
    """
    control = model.tokenizer.control_tokens
    ends = {control[token] for token in model.format.syntax.ends if token in control}
    limits = (request.max_output_tokens, caller.default_output_tokens, model.default_output_tokens)
    limit = next((each for each in limits if each is not None), room)
    sent = {name: value for name, value in _fields(request.sampling).items() if value is not None}
    sampling = Sampling(
        max_tokens=min(limit, room),
        stop_token_ids=model.engine.info.eos_token_ids | ends,
        n=request.n,
        top_logprobs=request.top_logprobs,
        thinking_budget=_thinking_budget(request, model),
        **_fields(model.sampling[request.mode]) | sent,
    )
    # Top-p keeps the fewest tokens that reach it. Zero is reached by the likeliest one alone.
    return sampling if sampling.top_p else replace(sampling, top_p=1.0, top_k=1)


def _fields(options: SamplingOptions | SamplingDefaults) -> dict[str, Any]:
    """The fields by name. `dataclasses.asdict` would copy their values, which takes longer than all else."""
    return {field.name: getattr(options, field.name) for field in fields(options)}


def _thinking_budget(request: ChatRequest, model: Model) -> ThinkingBudget | None:
    syntax = model.format.syntax
    tags = syntax.reasoning
    n_tokens = request.thinking_budget_tokens
    if tags is None or n_tokens is None or request.mode is not Mode.THINKING:
        return None
    closing = (Plain(syntax.before_close), Tag(tags.close))
    # What closes the reasoning, up to the end of the tag, counts as reasoning too.
    n_tokens = max(n_tokens - len(encode(closing, model.tokenizer)), 0)
    close_ids = encode((*closing, *map(Tag, syntax.after_close)), model.tokenizer)
    return ThinkingBudget(n_tokens, close_ids, model.tokenizer.control_tokens.get(tags.close, tags.close))
