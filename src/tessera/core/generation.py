"""What goes into an engine and what comes out of it: token ids in, token ids out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tessera.core.values import value

Feature: TypeAlias = Literal["grammar", "logprobs", "n", "thinking_budget"]
EngineFinish: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """A whole assistant turn in Lark as llguidance reads it; `<[123]>` is the control token 123."""

    lark: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens to continue. Prefix-cache hits are shared only between prompts of the same `cache_salt`;
    logs name the request by its `trace_id`.
    """

    token_ids: tuple[int, ...]
    grammar: Grammar | None = None
    cache_salt: bytes = b""
    priority: int = 0
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class ThinkingBudget:
    """At most `n_tokens` of reasoning; then `close_ids` are forced, unless it ended by itself.

    `end` is what ends it: a control token's id, or text where the family spells its tags.
    """

    n_tokens: int
    close_ids: tuple[int, ...]
    end: int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingDefaults:
    """How the next token is chosen; here, where a request does not say. Temperature 0 is greedy. top_k 0,
    top_p 1, min_p 0, and the penalties at 0 / 0 / 1 are off.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Sampling(SamplingDefaults):
    """How a request's tokens are chosen, complete: no field has a hidden default in an engine.

    `max_tokens` bounds the tokens of each sequence. Generation ends at a token of `stop_token_ids`, which is
    the last one reported. Sequence i of n is seeded with seed + i; a seed of None is a random one.
    `top_logprobs` None: no logprobs; k: that of the token and the k best.
    """

    max_tokens: int
    stop_token_ids: frozenset[int] = frozenset()
    logit_bias: Mapping[int, float] = field(default_factory=dict[int, float])
    seed: int | None = None
    n: int = 1
    top_logprobs: int | None = None
    thinking_budget: ThinkingBudget | None = None


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The natural log-probability of a token, and of the best alternatives at its position as (id,
    logprob).
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@value
class TokenChunk:
    """What one engine step added to one sequence.

    A sequence's tokens come in order; its last chunk carries `finish` (and may hold no token).
    `cached_tokens` is how many tokens of the prompt came from the prefix cache, the same in every chunk.
    `logprobs` is parallel to `token_ids`, or empty.
    """

    sequence: int
    token_ids: tuple[int, ...]
    finish: EngineFinish | None = None
    cached_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine serves and what it can do. `context_tokens` bounds prompt + output of a sequence;
    `max_sequences` are computed at once, more wait.
    """

    model_id: str
    context_tokens: int
    vocabulary_size: int
    eos_token_ids: frozenset[int]
    features: frozenset[Feature] = frozenset()
    max_sequences: int = 64
