"""What a setting may be: how its text is read, what is checked, and how it is shown."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, cast

T = TypeVar("T")

VARIABLE_PREFIX = "TESSERA_"

Tables: TypeAlias = Mapping[str, Mapping[str, int | str]]
ModelTables: TypeAlias = Mapping[str, Mapping[str, object]]

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_ORIGIN = (
    r"\*|null|[a-z][a-z0-9+.-]*://[^\s/,?#@A-Z]+"  # as browsers write it: in small letters, without a path
)
_NAME = r"[\x21-\x7e]{1,200}"
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a setting may be. `parse` reads text, `check` takes the TOML value or what `parse` returned; both
    raise `ValueError`.
    """

    expects: str
    parse: Callable[[str], object]
    check: Callable[[object], T]


def _require(is_right: bool) -> None:
    if not is_right:
        raise ValueError


def integer(low: int, high: int) -> Kind[int]:
    """A whole number within bounds."""

    def check(value: object) -> int:
        _require(type(value) is int and low <= value <= high)
        return cast("int", value)

    return Kind(f"a whole number from {low} to {high}", int, check)


def number(low: float, high: float) -> Kind[float]:
    """A number within bounds."""

    def check(value: object) -> float:
        _require(type(value) in (int, float) and low <= cast("float", value) <= high)
        return float(cast("float", value))

    return Kind(f"a number from {low:g} to {high:g}", float, check)


def size(low: int) -> Kind[int]:
    """A number of bytes, or a text such as 512MiB."""

    def check(value: object) -> int:
        found = re.fullmatch(r"(\d+) ?(|KiB|MiB|GiB)", str(value)) if type(value) in (int, str) else None
        _require(found is not None)
        n_bytes = int(found[1]) * _UNITS[found[2]] if found else 0
        _require(n_bytes >= low)
        return n_bytes

    return Kind(f"a size of at least {show_size(low)}, such as 512MiB or 2GiB", str, check)


def show_size(n_bytes: int) -> str:
    """In the largest unit that divides it."""
    unit = next(unit for unit in reversed(_UNITS) if n_bytes % _UNITS[unit] == 0)
    return f"{n_bytes // _UNITS[unit]}{unit}"


def choice(*names: str) -> Kind[str]:
    """One of a few words."""

    def check(value: object) -> str:
        _require(value in names)
        return str(value)

    return Kind(f"one of {', '.join(names)}", str, check)


def text(expects: str, pattern: str) -> Kind[str]:
    """A text that matches the pattern from end to end."""

    def check(value: object) -> str:
        _require(isinstance(value, str) and re.fullmatch(pattern, value) is not None)
        return str(value)

    return Kind(expects, str, check)


def _parse_switch(value: str) -> bool:
    _require(value.lower() in _TRUE + _FALSE)
    return value.lower() in _TRUE


def _check_switch(value: object) -> bool:
    _require(isinstance(value, bool))
    return bool(value)


def _check_names(value: object) -> tuple[str, ...]:
    _require(isinstance(value, list))
    names = cast("list[object]", value)
    _require(all(isinstance(name, str) and name and not name.isspace() for name in names))
    return tuple(str(name) for name in names)


def _check_origins(value: object) -> tuple[str, ...]:
    origins = _check_names(value)
    _require(all(re.fullmatch(_ORIGIN, origin) for origin in origins))
    return origins


def _check_folder(value: object) -> Path:
    _require(isinstance(value, str) and bool(value))
    return Path(str(value)).expanduser().absolute()


def _check_tables(value: object) -> Tables:
    _require(isinstance(value, Mapping))
    tables = cast("Mapping[object, object]", value)
    for name, table in tables.items():
        _require(isinstance(name, str) and re.fullmatch(r"[a-z0-9_-]{1,32}", name) is not None)
        _require(isinstance(table, Mapping))
        fields_of = cast("Mapping[object, object]", table)
        _require(all(type(field_value) in (int, str) for field_value in fields_of.values()))
    return cast("Tables", tables)


def _check_model_tables(value: object) -> ModelTables:
    _require(isinstance(value, Mapping))
    tables = cast("Mapping[object, object]", value)
    _require(bool(tables))
    for name, table in tables.items():
        _require(isinstance(name, str) and re.fullmatch(_NAME, name) is not None)
        _require(isinstance(table, Mapping))
    return cast("ModelTables", tables)


SWITCH = Kind("true or false", _parse_switch, _check_switch)
NAMES = Kind(
    "names, in TOML a list of texts, elsewhere separated by commas",
    lambda value: [name.strip() for name in value.split(",") if name.strip()],
    _check_names,
)
ORIGINS = Kind(
    "origins such as https://chat.example.com, without a path, or * for any; in TOML a list of texts, "
    "elsewhere separated by commas",
    NAMES.parse,
    _check_origins,
)
TABLES = Kind(
    "in TOML a table for each name, elsewhere one such as {lite = {concurrency = 8}}; names have 1 to 32 "
    "small letters, digits, - and _, values are whole numbers or texts",
    lambda value: tomllib.loads(f"tables = {value}")["tables"],
    _check_tables,
)
MODELS = Kind(
    "in TOML a table for each name without spaces, elsewhere one such as "
    '{small = {model = "/models/small.gguf"}}',
    TABLES.parse,
    _check_model_tables,
)
FOLDER = Kind("a path", str, _check_folder)
SPEC = text("a path, or ORGANISATION/NAME of a hub", r"\S.*")
NAME = text("a name without spaces", _NAME)
URL = text("sqlite:///path or postgresql://…", r"(sqlite|postgres(ql)?)://\S.*")
PEPPER = text("32 to 1024 printable characters", r"[\x20-\x7e]{32,1024}")
REDIS_URL = text("a URL such as redis://host:6379/0", r"(rediss?|unix)://\S+")
HTTP_URL = text("a URL such as http://collector:4318", r"https?://\S+")
ADMIN_KEY = text("32 to 256 printable characters without spaces", r"[\x21-\x7e]{32,256}")
KEY = text("8 to 256 printable characters without spaces", r"[\x21-\x7e]{8,256}")


@dataclass(frozen=True, slots=True)
class Row:
    """One setting, as the command line and the documentation show it. A secret has no flag: flags are seen
    by every process of the machine.
    """

    name: str
    kind: Kind[Any]  # of the field's own type
    default: object
    help: str
    secret: bool

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """Its flag."""
        return "--" + self.name.replace("_", "-")


def setting(default: T, kind: Kind[Any], help: str, *, secret: bool = False) -> T:
    """A field of the table of settings."""
    return field(default=default, repr=not secret, metadata={"kind": kind, "help": help, "secret": secret})
