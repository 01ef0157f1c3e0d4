"""A whole reply as OpenAI's JSON, and the parts that it shares with the stream."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from tessera.core.events import ChatEvent, TextDelta
from tessera.core.result import Choice, ReplyFold
from tessera.core.usage import Usage
from tessera.errors import RequestError, TesseraError
from tessera.wire.scores import Logprobs, ScoreWriter, Spelling, logprobs_object

MAX_SCORE_BYTES = 64 * 2**20
"""Of the logprobs of a reply that is not streamed: the 20 best of 40,000 tokens."""


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


class ReplyWriter:
    """Writes a reply that is not streamed. The work is done as its events come, and little is left for the
    end: a long reply must not keep others waiting.
    """

    def __init__(self, header: Header, spell: Spelling) -> None:
        """`spell` returns the bytes of a token, for logprobs."""
        self._header = header
        self._fold = ReplyFold()
        self._writer = ScoreWriter(spell)
        self._scores: dict[int, list[bytes]] = {}
        self._n_score_bytes = 0

    def add(self, events: Iterable[ChatEvent]) -> None:
        """Raises `RequestError` for logprobs that would take too much memory."""
        for event in events:
            if isinstance(event, TextDelta) and event.logprobs:
                self._add_scores(event.choice, self._writer.write(event.logprobs))
                self._fold.add(TextDelta(event.choice, event.text))
            else:
                self._fold.add(event)

    def _add_scores(self, choice: int, written: bytes) -> None:
        self._scores.setdefault(choice, []).append(written)
        self._n_score_bytes += len(written)
        if self._n_score_bytes > MAX_SCORE_BYTES:
            raise RequestError(
                f"The logprobs of this reply take more than {MAX_SCORE_BYTES // 2**20} MiB. Send 'stream' "
                "true, or ask for less: 'max_completion_tokens', 'n', 'top_logprobs'.",
                param="logprobs",
            )

    def body(self) -> bytes:
        """The whole reply, of which all events have come."""
        reply = self._fold.reply()
        return msgspec.json.encode(
            Completion(
                id=self._header.id,
                created=self._header.created_s,
                model=self._header.model,
                system_fingerprint=fingerprint(self._header.model),
                choices=[_choice(each, self._scores.get(each.index)) for each in reply.choices],
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


def fingerprint(model: str) -> str:
    """The system fingerprint, the same for every reply of a model."""
    return "fp_" + hashlib.sha256(model.encode()).hexdigest()[:12]


def _choice(choice: Choice, scores: list[bytes] | None) -> MessageChoice:
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
        # The type describes the JSON, which is written already.
        logprobs=msgspec.Raw(logprobs_object(b",".join(scores))) if scores else None,  # pyright: ignore[reportArgumentType]
    )
