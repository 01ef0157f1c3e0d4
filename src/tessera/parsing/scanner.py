"""Finds the end of a JSON value in a text that comes in pieces."""

import re

_CLOSERS = {"{": "}", "[": "]"}
_STRUCTURE = re.compile(r'["{}\[\],<]')
_IN_STRING = re.compile(r'["\\]')


class Scanner:
    """Finds the end of a JSON value."""

    def __init__(self) -> None:
        self.in_string = False
        self.ended = False
        self._escaped = False
        self._open: list[str] = []

    def scan(self, text: str, at: int) -> int:
        """Reads on from `at`; returns where the value ends, or the end of the text."""
        while at < len(text) and not self.ended:
            at = self._string(text, at) if self.in_string else self._structure(text, at)
        return at

    def missing(self) -> str:
        """The text that closes everything that is open."""
        return '"' * self.in_string + "".join(reversed(self._open))

    def _string(self, text: str, at: int) -> int:
        if self._escaped:
            self._escaped = False
            return at + 1
        if not (found := _IN_STRING.search(text, at)):
            return len(text)
        if found[0] == "\\":
            self._escaped = True
        else:
            self.in_string = False
            self.ended = not self._open
        return found.end()

    def _structure(self, text: str, at: int) -> int:
        if not (found := _STRUCTURE.search(text, at)):
            return len(text)
        match found[0]:
            case '"':
                self.in_string = True
            case "{" | "[" as bracket:
                self._open.append(_CLOSERS[bracket])
            case "}" | "]" if self._open:
                self._open.pop()
                self.ended = not self._open
            case "," if self._open:
                pass
            case _:
                self.ended = True
                return found.start()
        return found.end()
