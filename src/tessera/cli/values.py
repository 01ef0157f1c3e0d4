"""What several commands read from their arguments: numbers, limits of the form NAME=NUMBER, keys."""

import math
import re
from collections.abc import Iterable

import click

from tessera.errors import CommandError, OperatorError

_NUMBER = re.compile(r"\[Errno -?\d+\] ")
_SENDABLE = re.compile(r"[\x21-\x7e]+")


class FiniteRange(click.FloatRange):
    """A number within bounds, which "nan" and "inf" are not."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def authorization(api_key: str | None) -> dict[str, str]:
    """The header with the key. Raises `CommandError` for one that no header can hold."""
    key = (api_key or "").strip()
    if not key:
        return {}
    if not _SENDABLE.fullmatch(key):
        raise CommandError(
            "The API key has characters that cannot be part of a key, such as spaces or the … of an example. "
            "Copy the whole key."
        )
    return {"Authorization": f"Bearer {key}"}


def plain(error: Exception) -> str:
    """The error's message without the number that the system gives it."""
    return _NUMBER.sub("", str(error)).rstrip(".") or type(error).__name__


def read_numbers(given: Iterable[str], without: str) -> dict[str, int | str | None]:
    """The numbers by their names. The word `without` removes a value; other words are checked by whom they
    are for. Raises `OperatorError`.
    """
    values: dict[str, int | str | None] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or not name or not value:
            raise OperatorError(f"{each[:50]!r} is not NAME=VALUE, such as concurrency=2.")
        values[name] = None if value == without else int(value) if _is_number(value) else value
    return values


def _is_number(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= 18
