"""How a reply is sampled: what the client asked, completed by the model's defaults for the mode."""

from typing import TypeVar

from tessera.catalog import Model
from tessera.core.chat import ChatRequest, Mode
from tessera.core.generation import Sampling, ThinkingBudget
from tessera.formats.base import Plain, Tag
from tessera.prompt.encode import encode

_T = TypeVar("_T")


def complete_sampling(request: ChatRequest, model: Model, room: int) -> Sampling:
    """Everything an engine needs to know; at most `room` tokens."""
    asked, default = request.sampling, model.sampling[request.mode]
    control = model.tokenizer.control_tokens
    top_p = _or(asked.top_p, default.top_p)
    ends = {control[token] for token in model.format.syntax.ends if token in control}
    return Sampling(
        max_tokens=min(_or(request.max_output_tokens, room), room),
        stop_token_ids=model.engine.info.eos_token_ids | ends,
        temperature=_or(asked.temperature, default.temperature),
        # The smallest set of tokens that has more than no probability is the likeliest one.
        top_p=top_p or 1.0,
        top_k=_or(asked.top_k, default.top_k) if top_p else 1,
        min_p=_or(asked.min_p, default.min_p),
        presence_penalty=_or(asked.presence_penalty, default.presence_penalty),
        frequency_penalty=_or(asked.frequency_penalty, default.frequency_penalty),
        repetition_penalty=_or(asked.repetition_penalty, default.repetition_penalty),
        logit_bias=asked.logit_bias,
        seed=asked.seed,
        n=request.n,
        top_logprobs=request.top_logprobs,
        thinking_budget=_thinking_budget(request, model),
    )


def _thinking_budget(request: ChatRequest, model: Model) -> ThinkingBudget | None:
    tags, n_tokens = model.format.syntax.reasoning, request.thinking_budget_tokens
    if tags is None or n_tokens is None or request.mode is not Mode.THINKING:
        return None
    closing = (Plain("\n"), Tag(tags.close))
    # Up to the end of the tag, closing counts as reasoning too.
    n_tokens = max(n_tokens - len(encode(closing, model.tokenizer)), 0)
    close_ids = encode((*closing, Plain("\n\n")), model.tokenizer)
    return ThinkingBudget(n_tokens, close_ids, model.tokenizer.control_tokens.get(tags.close, tags.close))


def _or(sent: _T | None, default: _T) -> _T:
    return default if sent is None else sent
