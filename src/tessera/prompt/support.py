"""Which optional parts of the API a model supports, and the refusal of requests for others: one table."""

from collections.abc import Callable
from dataclasses import dataclass

from tessera.catalog import Model
from tessera.core.chat import ChatRequest, FreeText, Mode
from tessera.errors import RequestError, UnsupportedParameter


@dataclass(frozen=True, slots=True)
class _Requirement:
    """An optional part of the API. `feature` is its name in the model list."""

    feature: str
    param: str
    asked: Callable[[ChatRequest], bool]
    met: Callable[[Model], bool]
    instead: str


def _grammar(model: Model) -> bool:
    return "grammar" in model.engine.info.features


_REQUIREMENTS = (
    _Requirement(
        feature="tools",
        param="tools",
        asked=lambda r: bool(r.tools),
        met=lambda m: m.format.tools and _grammar(m),
        instead="leave it out and describe the functions in a message",
    ),
    _Requirement(
        feature="structured_output",
        param="response_format",
        asked=lambda r: not isinstance(r.answer_format, FreeText),
        met=_grammar,
        instead='send {"type": "text"} and ask for the form in a message',
    ),
    _Requirement(
        feature="thinking_budget",
        param="thinking_token_budget",
        asked=lambda r: r.thinking_budget_tokens is not None and r.mode is Mode.THINKING,
        met=lambda m: Mode.THINKING in m.sampling and "thinking_budget" in m.engine.info.features,
        instead="leave it out",
    ),
    _Requirement(
        feature="logprobs",
        param="logprobs",
        asked=lambda r: r.top_logprobs is not None,
        met=lambda m: "logprobs" in m.engine.info.features,
        instead="send false",
    ),
    _Requirement(
        feature="n",
        param="n",
        asked=lambda r: r.n > 1,
        met=lambda m: "n" in m.engine.info.features,
        instead="send 1, and as many requests as you need",
    ),
)


def features(model: Model) -> list[str]:
    """The optional parts of the API that this model supports, sorted."""
    return sorted(need.feature for need in _REQUIREMENTS if need.met(model))


def check_support(request: ChatRequest, model: Model) -> None:
    """Raises `UnsupportedParameter` for what this model cannot do, `RequestError` for what makes no sense."""
    if request.mode not in model.sampling:
        raise UnsupportedParameter(
            "This model does not reason: send `chat_template_kwargs.enable_thinking` false, or leave it out.",
            param="chat_template_kwargs.enable_thinking",
        )
    for need in _REQUIREMENTS:
        if need.asked(request) and not need.met(model):
            raise UnsupportedParameter(
                f"`{need.param}` is not supported by this engine: {need.instead}.", param=need.param
            )
    size = model.engine.info.vocabulary_size
    if unknown := [id for id in request.sampling.logit_bias if not 0 <= id < size]:
        raise RequestError(
            f"Token {unknown[0]} is not in the vocabulary: send ids from 0 to {size - 1}.", param="logit_bias"
        )
