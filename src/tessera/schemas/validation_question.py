"""What a process is asked about a finished reply, and its answer."""

import msgspec


class Validation(msgspec.Struct):
    """A text, and the schema that it must fit."""

    schema: msgspec.Raw
    text: str


class Validations(msgspec.Struct):
    """All that is to be checked of one choice."""

    checks: list[Validation]


class ValidationProblem(msgspec.Struct):
    """What is wrong with the first text that does not fit, and its place; None if all of them fit."""

    place: int = 0
    problem: str | None = None
