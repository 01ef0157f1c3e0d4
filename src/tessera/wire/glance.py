"""What a proxy in front of servers needs to know of a chat request, without decoding its contents."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from msgspec import Raw

T = TypeVar("T")

_FIELDS = msgspec.json.Decoder(dict[str, Raw])
_BEFORE_MESSAGES = ("tools", "chat_template_kwargs")


@dataclass(frozen=True, slots=True)
class Glance:
    """`messages` are the JSON of each. `before` is the JSON of what the prompt begins with, whatever the
    messages are. A request that `is_repeatable` gives the same reply again.
    """

    model: str | None = None
    messages: tuple[bytes, ...] = ()
    before: bytes = b""
    is_repeatable: bool = False


def glance(body: bytes) -> Glance:
    """What the body says. Nothing is refused here: a body that is not JSON says nothing."""
    try:
        fields = _FIELDS.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return Glance()
    messages = _read(fields, "messages", list[Raw]) or []
    is_chosen_alike = _read(fields, "seed", int) is not None or _read(fields, "temperature", float) == 0
    return Glance(
        model=_read(fields, "model", str),
        messages=tuple(bytes(each) for each in messages),
        before=b"".join(bytes(fields.get(name, b"")) for name in _BEFORE_MESSAGES),
        # Of log probabilities only the replica that computes them has all digits.
        is_repeatable=is_chosen_alike and not _read(fields, "logprobs", bool),
    )


def _read(fields: Mapping[str, Raw], name: str, kind: type[T]) -> T | None:
    """The field; None if it is missing or of another type."""
    try:
        return msgspec.json.decode(fields[name], type=kind)
    except (KeyError, msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
