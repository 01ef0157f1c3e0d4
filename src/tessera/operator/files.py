"""Usage as a file for other programs: CSV, or Parquet if its library is installed."""

import csv
import importlib
import io
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from tessera.core.usage import GroupBy
from tessera.errors import OperatorError
from tessera.operator.forms import Format
from tessera.operator.rows import COUNTED, Report


def written(report: Report, by: Sequence[GroupBy], form: Format) -> bytes:
    """The report in this form; raises `OperatorError` for Parquet without its library."""
    return _WRITERS[form](report, by)


def _json(report: Report, by: Sequence[GroupBy]) -> bytes:
    return msgspec.json.encode(report) + b"\n"


def _csv(report: Report, by: Sequence[GroupBy]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*by, *COUNTED], lineterminator="\n")
    writer.writeheader()
    writer.writerows(report.rows)
    return text.getvalue().encode()


def _parquet(report: Report, by: Sequence[GroupBy]) -> bytes:
    try:
        arrow: Any = importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise OperatorError(
            "Parquet needs pyarrow: pip install 'tessera-serve[parquet]'.", param="format"
        ) from error
    fields = [*((name, arrow.string()) for name in by), *((name, arrow.int64()) for name in COUNTED)]
    table = arrow.Table.from_pylist(report.rows, schema=arrow.schema(fields))
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


_WRITERS: Mapping[Format, Callable[[Report, Sequence[GroupBy]], bytes]] = MappingProxyType(
    {"json": _json, "csv": _csv, "parquet": _parquet}
)
