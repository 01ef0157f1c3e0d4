"""A whole reply as OpenAI's JSON, and the parts that it shares with the stream."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tessera.core.generation import TokenLogprob
from tessera.core.result import Choice, Reply
from tessera.core.usage import Usage
from tessera.errors import TesseraError

Spelling: TypeAlias = Callable[[int], bytes]
"""Returns the bytes of a token, for logprobs."""

LEAST_LOGPROB = -9999.0
"""What OpenAI sends for an impossible token; JSON has no infinity."""


@dataclass(frozen=True, slots=True)
class Header:
    """What every reply and chunk repeats. `created_s` is Unix time."""

    id: str
    created_s: int
    model: str


def new_id(now_s: float) -> str:
    """The id of a reply that begins now. Later ids are greater, so that a database index grows at its end."""
    return f"chatcmpl-{int(now_s * 1000):012x}{secrets.token_hex(6)}"


class PromptDetails(Struct):
    """Part of `prompt_tokens`."""

    cached_tokens: int


class CompletionDetails(Struct):
    """Part of `completion_tokens`."""

    reasoning_tokens: int


class UsageCounts(Struct):
    """Token counts under OpenAI's names."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


class Alternative(Struct):
    """A token that could have been."""

    token: str
    logprob: float
    bytes: list[int]


class TokenScore(Struct):
    """A token that is, and what else could have been."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[Alternative]


class Logprobs(Struct):
    """Aligned with the visible content."""

    content: list[TokenScore]
    refusal: None = None


class FunctionOfCall(Struct):
    """`arguments` is JSON text."""

    name: str
    arguments: str


class ToolCall(Struct):
    """A call of the model."""

    id: str
    function: FunctionOfCall
    type: Literal["function"] = "function"


class Message(Struct):
    """Absent rather than null: reasoning and calls that are not there."""

    content: str | None
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class MessageChoice(Struct):
    """One alternative."""

    index: int
    message: Message
    finish_reason: str
    logprobs: Logprobs | None


class Completion(Struct):
    """The body of a reply that is not streamed."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[MessageChoice]
    usage: UsageCounts
    object: Literal["chat.completion"] = "chat.completion"


def encode_reply(reply: Reply, header: Header, spell: Spelling) -> bytes:
    """The body of a reply that is not streamed."""
    return msgspec.json.encode(
        Completion(
            id=header.id,
            created=header.created_s,
            model=header.model,
            system_fingerprint=fingerprint(header.model),
            choices=[_choice(choice, spell) for choice in reply.choices],
            usage=usage_counts(reply.usage),
        )
    )


def encode_error(error: TesseraError) -> bytes:
    """The error envelope."""
    fields = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": fields})


def usage_counts(usage: Usage) -> UsageCounts:
    """Token counts under OpenAI's names."""
    return UsageCounts(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
        prompt_tokens_details=PromptDetails(usage.cached_tokens),
        completion_tokens_details=CompletionDetails(usage.reasoning_tokens),
    )


def scores(logprobs: tuple[TokenLogprob, ...], spell: Spelling) -> Logprobs | None:
    """Logprobs with the text of each token; None if there are none."""
    if not logprobs:
        return None
    return Logprobs([_score(logprob, spell) for logprob in logprobs])


def fingerprint(model: str) -> str:
    """The system fingerprint, the same for every reply of a model."""
    return "fp_" + hashlib.sha256(model.encode()).hexdigest()[:12]


def _choice(choice: Choice, spell: Spelling) -> MessageChoice:
    message = Message(choice.text)
    if choice.reasoning is not None:
        message.reasoning = message.reasoning_content = choice.reasoning
    if choice.tool_calls:
        message.tool_calls = [
            ToolCall(call.id, FunctionOfCall(call.name, call.arguments)) for call in choice.tool_calls
        ]
    return MessageChoice(
        choice.index,
        message,
        finish_reason=choice.finish_reason.value,
        logprobs=scores(choice.logprobs, spell),
    )


def _score(logprob: TokenLogprob, spell: Spelling) -> TokenScore:
    own = _alternative(logprob.token_id, logprob.logprob, spell)
    top = [_alternative(token_id, value, spell) for token_id, value in logprob.top]
    return TokenScore(own.token, own.logprob, own.bytes, top_logprobs=top)


def _alternative(token_id: int, logprob: float, spell: Spelling) -> Alternative:
    spelled = spell(token_id)
    return Alternative(spelled.decode("utf-8", "replace"), max(logprob, LEAST_LOGPROB), list(spelled))
