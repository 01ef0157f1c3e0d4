"""Logs: one event per line, as JSON or for a person, on standard error.

A line that clients can cause without a limit is logged in part if it repeats very often, and the rest is
counted: otherwise anyone could fill the disk, even without a key. These are all warnings and errors, and what
`log_repeating` logs.

Logs never hold content. A log call has an event's name and plain fields. Of an exception, its type and its
frames are written, but not its message, which may quote what a client sent. Keys are masked wherever they
occur.
"""

import json
import logging
import re
import sys
import traceback
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, TextIO, TypeAlias

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Form: TypeAlias = Literal["auto", "console", "json"]
Field: TypeAlias = "str | int | float | bool | None"

MAX_A_SECOND = 20
"""Lines a second of one warning or error, and of one kind of what `log_repeating` logs."""

_KEY = re.compile(r"sk-tessera-[A-Za-z0-9]+")
_FIELDS = "fields"
_KIND = "kind"

# Libraries that would fill the log: uvicorn logs its start, clients log every request, and an exporter logs
# every batch that fails, which we log once.
_QUIETED: Mapping[str, int] = {
    "uvicorn": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "httpx2": logging.WARNING,
    "httpcore2": logging.WARNING,
    "huggingface_hub": logging.ERROR,
    "asyncio": logging.WARNING,
    "alembic": logging.WARNING,
    "opentelemetry": logging.CRITICAL,
    "urllib3": logging.WARNING,
}


def log(logger: logging.Logger, level: Level, event: str, /, **fields: Field) -> None:
    """Logs one event. Fields are names, counts and durations: never anything that a client wrote."""
    logger.log(logging.getLevelNamesMapping()[level.upper()], event, extra={_FIELDS: fields})


def log_repeating(logger: logging.Logger, level: Level, event: str, kind: str, /, **fields: Field) -> None:
    """Logs an event that clients can cause without a limit; each `kind` of it is counted by itself."""
    number = logging.getLevelNamesMapping()[level.upper()]
    logger.log(number, event, extra={_FIELDS: fields, _KIND: kind})


def mask_keys(text: str) -> str:
    """The text without the secret part of any key."""
    return _KEY.sub("sk-tessera-…", text)


def configure(level: Level, form: Form, stream: TextIO | None = None) -> None:
    """Sends all logs of the process to `stream`, by default standard error; replaces earlier handlers."""
    target = sys.stderr if stream is None else stream
    is_json = form == "json" or (form == "auto" and not target.isatty())
    output = logging.StreamHandler(target)
    output.setFormatter(JsonLines() if is_json else Console())
    output.addFilter(Repetitions())
    logging.basicConfig(level=level.upper(), handlers=[output], force=True)
    logging.captureWarnings(True)
    for name, least in _QUIETED.items():
        logging.getLogger(name).setLevel(least)


class Repetitions(logging.Filter):
    """Lets `MAX_A_SECOND` lines of the same kind through; the next one that is logged says in `n_left_out`
    how many were left out in the second before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._second = 0
        self._seen: Counter[tuple[str, str, str | None]] = Counter()
        self._left_out: dict[tuple[str, str, str | None], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind: str | None = getattr(record, _KIND, None)
        if record.levelno < logging.WARNING and kind is None:
            return True
        if self._second != (second := int(record.created)):
            self._second = second
            self._left_out = {key: n - MAX_A_SECOND for key, n in self._seen.items() if n > MAX_A_SECOND}
            self._seen.clear()
        key = record.name, str(record.msg), kind
        self._seen[key] += 1
        if n_left_out := self._left_out.pop(key, 0):
            setattr(record, _FIELDS, {**_fields(record), "n_left_out": n_left_out})
        return self._seen[key] <= MAX_A_SECOND


class JsonLines(logging.Formatter):
    """A JSON object per line: time, level, logger, event, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **_fields(record),
            **_exception(record),
        }
        return mask_keys(json.dumps(line, ensure_ascii=False, default=str))


class Console(logging.Formatter):
    """One line for a person, and the frames of an exception below it."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_time(record):%H:%M:%S} {record.levelname.lower():7} {record.getMessage()}"
        fields = "".join(f"  {name}={value}" for name, value in _fields(record).items())
        error = _exception(record)
        tail = f"\n{error['exception']} at\n{error['frames']}" if error else ""
        return mask_keys(head + fields + tail)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _fields(record: logging.LogRecord) -> Mapping[str, Field]:
    return getattr(record, _FIELDS, {})


def _exception(record: logging.LogRecord) -> dict[str, str]:
    """The exception's type and frames, without its message and those of its causes."""
    kind, _, trace = record.exc_info or (None, None, None)
    if kind is None:
        return {}
    return {"exception": kind.__name__, "frames": "".join(traceback.format_tb(trace)).rstrip()}
