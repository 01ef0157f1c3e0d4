"""Writes the arguments of a call as JSON text while their raw values are read.

The value of a parameter that can only be a string is written as it comes. Any other is written once it is
whole, as the model's own JSON or as a string (`schemas.signature`). A string is never converted to a number,
nor a 1 to `true`: the tool will check the arguments by its schema.
"""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from json.encoder import encode_basestring

from tessera.core.chat import Json
from tessera.schemas.signature import Signature

_SCALAR_BEGINS = re.compile(r"-?[\d.eE+-]*|t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?").fullmatch
_DECODER = json.JSONDecoder()


class Arguments:
    """Writes one object. A parameter that comes twice keeps its first value."""

    def __init__(self, signature: Signature, write: Callable[[str], None], *, lines: bool = True) -> None:
        """`signature` is that of the whole object; `write` takes more of its text. With `lines`, values stand
        on lines of their own.
        """
        self._signature = signature
        self._lines = lines
        self._write = write
        self._written: dict[str, Json] = {}
        self._name = ""
        self._is_text = False
        self._repeated = False
        self._parts: list[str] = []
        self._leading = False
        self._newline = False
        self.line_begins = False

    @property
    def missing(self) -> list[str]:
        """The parameters of the schema that have not come yet."""
        return [name for name in self._signature.names if name not in self._written]

    def begin(self, name: str) -> None:
        """Begins the value of `name`. `line_begins` then tells whether it ends with a newline so far."""
        self._repeated = name in self._written
        self._is_text = not self._repeated and self._signature.only_text(name)
        self._name = name
        self._parts = []
        self._leading = self._lines
        self._newline = False
        self.line_begins = False
        if not self._repeated:
            self._write(
                (", " if self._written else "{") + encode_basestring(name) + ": " + '"' * self._is_text
            )
            self._written[name] = None

    def add(self, text: str) -> None:
        """Adds to the value. With `lines`, one newline at each end of it belongs to the markup."""
        self.line_begins = text.endswith("\n")
        if self._leading:
            self._leading = False
            text = text.removeprefix("\n")
        if not text:
            return
        if self._lines:
            text = "\n" * self._newline + text
            self._newline = text.endswith("\n")
            text = text.removesuffix("\n")
        if not text:
            return
        if self._is_text:
            self._write(encode_basestring(text)[1:-1])
        if not self._repeated:
            self._parts.append(text)

    def end(self) -> None:
        if self._repeated:
            return
        text = "".join(self._parts)
        if self._is_text:
            self._write('"')
            self._written[self._name] = text
            return
        value = self._signature.read(self._name, text, self._written if self._signature.union else {})
        self._written[self._name] = json.loads(value, parse_float=Decimal)
        self._write(value)

    def cut(self) -> None:
        """Writes what came of a value that the token limit cut; of a string, without the closing quote."""
        text = "".join(self._parts)
        if text and not (self._is_text or self._repeated):
            self._write(text.lstrip() if _may_be_json(text) else encode_basestring(text)[:-1])

    def close(self) -> None:
        self._write("}" if self._written else "{}")


def _may_be_json(text: str) -> bool:
    """Whether the text may be JSON or the beginning of it."""
    text = text.strip()
    if _SCALAR_BEGINS(text):
        return True
    try:
        _, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return text.startswith(("{", "[", '"'))
    return end == len(text)
