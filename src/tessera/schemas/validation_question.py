"""The question about a finished reply, and the answer of the process."""

import msgspec


class Validation(msgspec.Struct):
    """A text and the schema by which to validate it."""

    schema: msgspec.Raw
    text: str


class Validations(msgspec.Struct):
    """All texts of one choice."""

    checks: list[Validation]


class ValidationProblem(msgspec.Struct):
    """The problem of the first invalid text, and its place in the list; None if all are valid."""

    place: int = 0
    problem: str | None = None
