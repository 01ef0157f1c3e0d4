"""What vLLM's processes log, and why one of them failed, in one line.

vLLM loads and computes in processes of its own. An exception there ends them and is logged there; the process
that started them only learns that they have ended. Therefore their loggers also write each exception to a
file, in one line, from which the reason is read.
"""

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import msgspec

_MOST_CHARACTERS = 500


class FailureLog:
    """The failures of the vLLM that serves one model. `configuration` makes vLLM's loggers write them."""

    def __init__(self, home: Path, folder: str) -> None:
        """Makes both files in `home`, which exists, for the model in `folder`."""
        name = hashlib.sha256(folder.encode()).hexdigest()[:12]
        self._file = home / f"failures-{name}.txt"
        self._file.touch(mode=0o600)
        self.configuration = home / f"logging-{name}.json"
        self.clear()
        self.configuration.write_bytes(msgspec.json.encode(_logging(self._file)))

    def clear(self) -> None:
        """Forgets what was written so far."""
        self._file.write_bytes(b"")

    def first(self) -> str | None:
        """The first failure, which is the cause of the others if a start fails; None without any."""
        return next(iter(self._lines()), None)

    def last(self) -> str | None:
        """The last failure: earlier ones may have been of single requests. None without any."""
        return next(reversed(self._lines()), None)

    def _lines(self) -> list[str]:
        return [line for line in self._file.read_text(errors="replace").splitlines() if line]


class _Detail(msgspec.Struct):
    """What is read of an entry of pydantic's `ValidationError.errors()`."""

    loc: tuple[str | int, ...]
    msg: str


class OneLine(logging.Formatter):
    """Formats the exception of a record, and nothing else: messages may quote requests."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        return "" if error is None else describe(error)


def describe(error: BaseException) -> str:
    """Names the kind of the first cause and what it says, in one line of limited length."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in _details(error).splitlines()]
    said = next((line for line in lines if line), "")
    return f"{type(error).__name__}: {said}"[:_MOST_CHARACTERS]


def _details(error: BaseException) -> str:
    """The text of an error. That of pydantic's has many lines, one of which shows all arguments."""
    errors = getattr(error, "errors", None)
    if not isinstance(error, ValueError) or not callable(errors):
        return str(error)
    found = msgspec.convert(errors(), list[_Detail])
    return "; ".join(": ".join([*map(str, each.loc), each.msg]) for each in found)


def _logging(failures: Path) -> Mapping[str, object]:
    """For `logging.config.dictConfig`. Nothing of a request may be logged: warnings quote grammars,
    the scheduler logs tokens that a grammar has rejected, and an EngineCore that fails logs all requests.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": f"{__name__}.{OneLine.__name__}"}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler"},
            "failures": {"class": "logging.FileHandler", "filename": str(failures), "formatter": "line"},
        },
        "loggers": {
            "vllm": {"level": "ERROR", "handlers": ["stderr", "failures"], "propagate": False},
            "vllm.logging_utils.dump_input": {"level": "CRITICAL"},
            "vllm.v1.core.sched.scheduler": {"level": "CRITICAL"},
            "vllm.v1.structured_output": {"level": "CRITICAL"},
        },
    }
