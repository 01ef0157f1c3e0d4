"""A chat request becomes what the engine is asked: token ids, and how to continue them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tessera.core.chat import AssistantMessage, Caller, ChatRequest, FreeText, Message, Mode
from tessera.core.generation import Feature, Prompt, Sampling
from tessera.errors import ContextLengthExceeded, RequestError, UnsupportedParameter
from tessera.formats.base import Control, Segment
from tessera.models import Model
from tessera.prompt.encode import encode

_T = TypeVar("_T")

# Encoding less than this is quicker than handing it to a thread.
_INLINE_CHARACTERS = 4_000

# No token is longer: the longest of the known vocabularies are runs of 128 blanks, and composing characters
# (NFC) only ever joins them inside far shorter tokens. A text of more characters cannot fit.
_TOKEN_CHARACTERS = 128


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the engine is asked. The prompt leaves room in the context, and `max_tokens` keeps within it."""

    prompt: Prompt
    sampling: Sampling


async def compile_prompt(request: ChatRequest, model: Model, caller: Caller) -> Compiled:
    """Render and encode the request, and complete its sampling with the model's defaults.

    Raises `UnsupportedParameter` for what this model cannot do, `ContextLengthExceeded` for a prompt that
    leaves no room for a token, and `RequestError` for a conversation that the format refuses.
    """
    _refuse_unsupported(request, model)
    _check_logit_bias(request, model)
    if sum(map(_characters, request.messages)) < _INLINE_CHARACTERS and not request.tools:
        token_ids = _prompt_ids(request, model)
    else:
        token_ids = await asyncio.to_thread(_prompt_ids, request, model)
    prompt = Prompt(token_ids, cache_salt=caller.cache_salt, priority=caller.priority)
    return Compiled(prompt, _sampling(request, model, room=model.context_tokens - len(token_ids)))


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A part of the API that not every engine has; `feature` None: none has it yet."""

    param: str
    asked: Callable[[ChatRequest], bool]
    instead: str
    feature: Feature | None = None


_REFUSALS = (
    _Refusal("tools", lambda r: bool(r.tools), "leave it out and describe the functions in a message"),
    _Refusal(
        "response_format",
        lambda r: not isinstance(r.answer_format, FreeText),
        'send {"type": "text"} and ask for the form in a message',
    ),
    _Refusal("chat_template_kwargs.enable_thinking", lambda r: r.mode is Mode.THINKING, "send false"),
    _Refusal("thinking_token_budget", lambda r: r.thinking_budget_tokens is not None, "leave it out"),
    _Refusal("logprobs", lambda r: r.top_logprobs is not None, "send false", "logprobs"),
    _Refusal("n", lambda r: r.n > 1, "send 1, and as many requests as you need", "n"),
)


def _refuse_unsupported(request: ChatRequest, model: Model) -> None:
    for refusal in _REFUSALS:
        if refusal.asked(request) and refusal.feature not in model.engine.info.features:
            raise UnsupportedParameter(
                f"`{refusal.param}` is not supported by this engine yet: {refusal.instead}.",
                param=refusal.param,
            )


def _check_logit_bias(request: ChatRequest, model: Model) -> None:
    size = model.engine.info.vocabulary_size
    if unknown := [id for id in request.sampling.logit_bias if not 0 <= id < size]:
        raise RequestError(
            f"Token {unknown[0]} is not in the vocabulary: send ids from 0 to {size - 1}.", param="logit_bias"
        )


def _characters(message: Message) -> int:
    if isinstance(message, AssistantMessage):
        arguments = sum(len(str(call.arguments)) for call in message.tool_calls)
        return len(message.text) + len(message.reasoning or "") + arguments
    return len(message.text)


def _prompt_ids(request: ChatRequest, model: Model) -> tuple[int, ...]:
    segments = model.format.render(request)
    if (least := sum(map(_length, segments)) // _TOKEN_CHARACTERS) >= model.context_tokens:
        raise _too_long(f"at least {least}", model)
    token_ids = encode(segments, model.tokenizer)
    if len(token_ids) >= model.context_tokens:
        raise _too_long(str(len(token_ids)), model)
    return token_ids


def _length(segment: Segment) -> int:
    return 1 if isinstance(segment, Control) else len(segment.text)


def _too_long(n_tokens: str, model: Model) -> ContextLengthExceeded:
    return ContextLengthExceeded(
        f"The prompt has {n_tokens} tokens, and the context of {model.context_tokens} tokens must also hold "
        "the reply: send fewer or shorter messages.",
        param="messages",
    )


def _sampling(request: ChatRequest, model: Model, room: int) -> Sampling:
    asked, default = request.sampling, model.sampling[request.mode]
    control = model.tokenizer.control_tokens
    ends = {control[token] for token in model.format.syntax.ends if token in control}
    return Sampling(
        max_tokens=min(_or(request.max_output_tokens, room), room),
        stop_token_ids=model.engine.info.eos_token_ids | ends,
        temperature=_or(asked.temperature, default.temperature),
        top_p=_or(asked.top_p, default.top_p),
        top_k=_or(asked.top_k, default.top_k),
        min_p=_or(asked.min_p, default.min_p),
        presence_penalty=_or(asked.presence_penalty, default.presence_penalty),
        frequency_penalty=_or(asked.frequency_penalty, default.frequency_penalty),
        repetition_penalty=_or(asked.repetition_penalty, default.repetition_penalty),
        logit_bias=asked.logit_bias,
        seed=asked.seed,
        n=request.n,
        top_logprobs=request.top_logprobs,
    )


def _or(sent: _T | None, default: _T) -> _T:
    return default if sent is None else sent
