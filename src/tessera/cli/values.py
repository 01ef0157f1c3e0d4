"""Arguments of the form NAME=NUMBER."""

from collections.abc import Iterable

from tessera.errors import OperatorError


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
