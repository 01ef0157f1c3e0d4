"""The last word on a reply: what is finished is valid, or it is not delivered as finished."""

from collections import defaultdict
from collections.abc import Iterable

from tessera.core.events import ChatEvent, Finished, FinishReason, TextDelta, ToolCallDelta, ToolCallStarted
from tessera.errors import GenerationFailed
from tessera.prompt.validation import ReplyValidators, Validator


class ReplyCheck:
    """Follows the events of one reply. The grammar has done the work: this only ever fails where an engine
    does not keep to it, or a rule was relaxed.
    """

    def __init__(self, validators: ReplyValidators) -> None:
        self._validators = validators
        self._active = bool(validators.answer or validators.arguments)
        self._texts: dict[int, list[str]] = defaultdict(list)
        self._calls: dict[int, list[tuple[str, list[str]]]] = defaultdict(list)

    def feed(self, events: Iterable[ChatEvent]) -> None:
        """Raises `GenerationFailed` when a choice that counts as finished is not what was asked for."""
        if not self._active:
            return
        for event in events:
            match event:
                case TextDelta(choice, text):
                    self._texts[choice].append(text)
                case ToolCallStarted(choice, _, _, name):
                    self._calls[choice].append((name, []))
                case ToolCallDelta(choice, call, arguments):
                    self._calls[choice][call][1].append(arguments)
                case Finished(choice, reason) if reason is not FinishReason.LENGTH:
                    self._check(choice)
                case _:
                    pass

    def _check(self, choice: int) -> None:
        calls = self._calls[choice]
        for name, written in calls:
            _require(self._validators.arguments[name], written, f"The arguments of a call to {name}")
        if self._validators.answer and not calls:
            _require(self._validators.answer, self._texts[choice], "The answer")


def _require(validator: Validator, written: list[str], what: str) -> None:
    if problem := validator.validate("".join(written)):
        raise GenerationFailed(f"{what} did not fit the schema ({problem}). Send the request again.")
