"""Keeps the text of a conversation from becoming markup while a template runs.

Control tokens that the texts spell are replaced by private-use characters, which come back as plain text.
"""

import re
from collections.abc import Callable, Mapping

from tessera.core.chat import Json

_FIRST = 0xF0000  # the private-use planes
_LAST = 0x10FFFD
_OBJECT = re.compile(rf'\{{"([{chr(_FIRST)}-{chr(_LAST)}])": null\}}')


class Placeholders:
    """Private-use characters in place of the control tokens that a conversation spells. A private-use
    character in the conversation gets one too, so that `restore` cannot mistake it for a placeholder.
    """

    def __init__(self, markup: re.Pattern[str]) -> None:
        self._special = re.compile(f"{markup.pattern}|[{chr(_FIRST)}-{chr(_LAST)}]")
        self._of: dict[str, str] = {}
        self._json: dict[str, str] = {}

    def mask(self, text: str) -> str:
        """The text with placeholders in place of control tokens."""
        return self._special.sub(lambda found: self._stand_in(found[0]), text)

    def _stand_in(self, special: str) -> str:
        return self._of.setdefault(special, chr(_FIRST + len(self._of)))

    def as_json(self, text: str) -> Json:
        """An object in place of JSON text, for templates that print it as JSON: the text then keeps its
        spelling, and need not be whole. An empty object stands for itself, since templates may look for one.
        """
        if text == "{}":
            return {}
        stand_in = self._stand_in(text)
        self._json[stand_in] = self.mask(text)
        return {stand_in: None}

    def with_json(self, text: str) -> str:
        """The text with the JSON that objects stand for, masked."""
        return _OBJECT.sub(lambda found: self._json.get(found[1], found[0]), text) if self._json else text

    def restore(self, text: str) -> str:
        """The text with what the placeholders stand for."""
        return text.translate({ord(stand_in): special for special, stand_in in self._of.items()})


def masked(value: Json, mask: Callable[[str], str]) -> Json:
    """The value with all of its strings masked."""
    match value:
        case str():
            return mask(value)
        case Mapping():
            return {mask(key): masked(item, mask) for key, item in value.items()}
        case bool() | int() | float() | None:
            return value
        case _:
            return [masked(item, mask) for item in value]
