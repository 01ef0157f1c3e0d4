"""Which optional parts of the API a model supports, and the refusal of requests for others: one table."""

from collections.abc import Callable
from dataclasses import dataclass

from tessera.catalog import Model
from tessera.core.chat import ChatRequest, FreeText, Mode
from tessera.core.generation import Feature
from tessera.errors import RequestError, UnsupportedParameter


@dataclass(frozen=True, slots=True)
class _Requirement:
    """An optional part of the API. `feature` is its name in the model list. `lacks` is what the model or its
    engine lacks for it, as a sentence without its end; None if it lacks nothing.
    """

    feature: str
    param: str
    asked: Callable[[ChatRequest], bool]
    lacks: Callable[[Model], str | None]
    instead: str


def _needs(feature: Feature, verb: str) -> Callable[[Model], str | None]:
    """What a model lacks whose engine has not this feature."""
    return lambda model: None if feature in model.engine.info.features else f"the engine cannot {verb}"


_no_grammar = _needs("grammar", "follow a grammar")
_no_budget = _needs("thinking_budget", "end the reasoning at a budget")


def _no_thinking_budget(model: Model) -> str | None:
    if Mode.THINKING not in model.sampling:
        return f"{model.id} does not reason"
    return _no_budget(model)


_REQUIREMENTS = (
    _Requirement(
        feature="tools",
        param="tools",
        asked=lambda r: bool(r.tools),
        lacks=_no_grammar,
        instead="Leave it out and describe the functions in a message",
    ),
    _Requirement(
        feature="structured_output",
        param="response_format",
        asked=lambda r: not isinstance(r.answer_format, FreeText),
        lacks=_no_grammar,
        instead='Send {"type": "text"} and ask for the form in a message',
    ),
    _Requirement(
        feature="thinking_budget",
        param="thinking_token_budget",
        asked=lambda r: r.thinking_budget_tokens is not None and r.mode is Mode.THINKING,
        lacks=_no_thinking_budget,
        instead="Leave it out",
    ),
    _Requirement(
        feature="logprobs",
        param="logprobs",
        asked=lambda r: r.top_logprobs is not None,
        lacks=_needs("logprobs", "give the probabilities of tokens"),
        instead="Send false",
    ),
    _Requirement(
        feature="n",
        param="n",
        asked=lambda r: r.n > 1,
        lacks=_needs("n", "make several choices of one request"),
        instead="Send 1, and as many requests as you need",
    ),
)


def features(model: Model) -> list[str]:
    """The optional parts of the API that this model supports, sorted."""
    return sorted(need.feature for need in _REQUIREMENTS if need.lacks(model) is None)


def check_support(request: ChatRequest, model: Model) -> None:
    """Raises `UnsupportedParameter` for what this model cannot do, `RequestError` for what makes no sense."""
    if request.mode not in model.sampling:
        raise UnsupportedParameter(
            f"The chat template of {model.id} has no reasoning: send `chat_template_kwargs.enable_thinking` "
            "false, or leave it out.",
            param="chat_template_kwargs.enable_thinking",
        )
    for need in _REQUIREMENTS:
        if need.asked(request) and (lack := need.lacks(model)):
            raise UnsupportedParameter(
                f"`{need.param}` is not supported here: {lack}. {need.instead}.", param=need.param
            )
    size = model.engine.info.vocabulary_size
    if unknown := [id for id in request.sampling.logit_bias if not 0 <= id < size]:
        raise RequestError(
            f"Token {unknown[0]} is not in the vocabulary: send ids from 0 to {size - 1}.", param="logit_bias"
        )
