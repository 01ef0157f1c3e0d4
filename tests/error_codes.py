"""Every code that an error can carry."""

import re
from pathlib import Path

from tessera import errors

SOURCE = Path(errors.__file__).parent
GIVEN_CODE = re.compile(r'\bcode ?= ?"')


def error_codes() -> list[str]:
    """The codes of the error classes, and those that are given where an error is raised."""
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    of_classes = {kind.default_code for kind in classes if issubclass(kind, errors.TesseraError)}
    lines = [line for path in SOURCE.rglob("*.py") for line in path.read_text().splitlines()]
    given = {code for line in lines if GIVEN_CODE.search(line) for code in re.findall(r'"([a-z_]+)"', line)}
    return sorted({code for code in of_classes if code} | given)
