"""Completes the sampling that a client asked for by the model's defaults for the mode."""

from dataclasses import asdict, replace

from tessera.catalog import Model
from tessera.core.chat import ChatRequest, Mode
from tessera.core.generation import Sampling, ThinkingBudget
from tessera.formats.base import Plain, Tag
from tessera.prompt.encode import encode


def complete_sampling(request: ChatRequest, model: Model, room: int) -> Sampling:
    """The sampling of a reply of at most `room` tokens."""
    control = model.tokenizer.control_tokens
    ends = {control[token] for token in model.format.syntax.ends if token in control}
    limit = room if request.max_output_tokens is None else request.max_output_tokens
    sent = {name: value for name, value in asdict(request.sampling).items() if value is not None}
    sampling = Sampling(
        max_tokens=min(limit, room),
        stop_token_ids=model.engine.info.eos_token_ids | ends,
        n=request.n,
        top_logprobs=request.top_logprobs,
        thinking_budget=_thinking_budget(request, model),
        **{**asdict(model.sampling[request.mode]), **sent},
    )
    # Top-p keeps the fewest tokens that reach it. Zero is reached by the likeliest one alone.
    return sampling if sampling.top_p else replace(sampling, top_p=1.0, top_k=1)


def _thinking_budget(request: ChatRequest, model: Model) -> ThinkingBudget | None:
    tags = model.format.syntax.reasoning
    n_tokens = request.thinking_budget_tokens
    if tags is None or n_tokens is None or request.mode is not Mode.THINKING:
        return None
    closing = (Plain("\n"), Tag(tags.close))
    # What closes the reasoning, up to the end of the tag, counts as reasoning too.
    n_tokens = max(n_tokens - len(encode(closing, model.tokenizer)), 0)
    close_ids = encode((*closing, Plain("\n\n")), model.tokenizer)
    return ThinkingBudget(n_tokens, close_ids, model.tokenizer.control_tokens.get(tags.close, tags.close))
