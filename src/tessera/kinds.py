"""What a setting may be: how its text is read, what is checked, and how it is shown."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

VARIABLE_PREFIX = "TESSERA_"

Tables: TypeAlias = Mapping[str, Mapping[str, int | str]]
Options: TypeAlias = Mapping[str, object]
ModelTables: TypeAlias = Mapping[str, Mapping[str, object]]

_UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_NAME = r"[\x21-\x7e]{1,200}"
_SWITCH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """`parse` reads the text of a flag or a variable; `check` takes the TOML value, or what `parse` returned.
    Both raise `ValueError`.
    """

    expects: str
    parse: Callable[[str], object]
    check: Callable[[object], T]


def converts(to: object) -> Callable[[object], Any]:
    """A check that a value is of this type, as msgspec understands it with its `Meta`."""

    def check(value: object) -> object:
        try:
            return msgspec.convert(value, to)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error

    return check


def matching(pattern: str) -> Any:  # noqa: ANN401 - a type with a condition
    """A text that matches the pattern from end to end."""
    return Annotated[str, Meta(pattern=rf"\A(?:{pattern})\Z")]


def integer(low: int, high: int) -> Kind[int]:
    """A whole number within bounds."""
    return Kind(f"a whole number from {low} to {high}", int, converts(Annotated[int, Meta(ge=low, le=high)]))


def number(low: float, high: float) -> Kind[float]:
    """A number within bounds."""
    return Kind(
        f"a number from {low:g} to {high:g}", float, converts(Annotated[float, Meta(ge=low, le=high)])
    )


def size(low: int) -> Kind[int]:
    """A number of bytes, or a text such as 512MiB."""
    written = converts(int | matching(rf"\d+ ?(?:{'|'.join(_UNITS)})"))

    def check(value: object) -> int:
        digits, unit = re.findall(r"(\d+) ?(.*)", str(written(value)))[0]
        n_bytes = int(digits) * _UNITS[unit]
        if n_bytes < low:
            raise ValueError
        return n_bytes

    return Kind(f"a size of at least {show_size(low)}, such as 512MiB or 2GiB", str, check)


def show_size(n_bytes: int) -> str:
    """In the largest unit that divides it."""
    unit = next(unit for unit in reversed(_UNITS) if n_bytes % _UNITS[unit] == 0)
    return f"{n_bytes // _UNITS[unit]}{unit}"


def choice(*names: str) -> Kind[str]:
    """One of a few words."""
    return Kind(f"one of {', '.join(names)}", str, converts(Literal[names]))


def text(expects: str, pattern: str) -> Kind[str]:
    """A text that matches the pattern from end to end."""
    return Kind(expects, str, converts(matching(pattern)))


def _parse_switch(value: str) -> bool:
    if value.lower() not in _SWITCH:
        raise ValueError
    return _SWITCH[value.lower()]


def _parse_names(value: str) -> list[str]:
    return [name.strip() for name in value.split(",") if name.strip()]


def _check_folder(value: object) -> Path:
    return Path(converts(Annotated[str, Meta(min_length=1)])(value)).expanduser().absolute()


def _check_proxies(value: object) -> tuple[str, ...]:
    names: tuple[str, ...] = converts(tuple[str, ...])(value)
    if names != ("*",):
        for name in names:
            ip_network(name)
    return names


SWITCH = Kind("true or false", _parse_switch, converts(bool))
NAMES = Kind(
    "names, in TOML a list of texts, elsewhere separated by commas",
    _parse_names,
    converts(tuple[Annotated[str, Meta(pattern=r"\S")], ...]),
)
# A browser writes an origin in small letters and without a path.
ORIGINS = Kind(
    "origins such as https://chat.example.com, without a path, or * for any; in TOML a list of texts, "
    "elsewhere separated by commas",
    _parse_names,
    converts(tuple[matching(r"\*|null|[a-z][a-z0-9+.-]*://[^\s/,?#@A-Z]+"), ...]),
)
PROXIES = Kind(
    "IP addresses or networks such as 10.0.0.0/8, or * alone for any; in TOML a list of texts, elsewhere "
    "separated by commas",
    _parse_names,
    _check_proxies,
)
TABLES = Kind(
    "in TOML a table for each name, elsewhere one such as {lite = {concurrency = 8}}; names have 1 to 32 "
    "small letters, digits, - and _, values are whole numbers or texts",
    lambda value: tomllib.loads(f"tables = {value}")["tables"],
    converts(dict[matching(r"[a-z0-9_-]{1,32}"), dict[str, int | str]]),
)
OPTIONS = Kind(
    "in TOML a table, elsewhere one such as {tensor_parallel_size = 2}",
    TABLES.parse,
    converts(dict[matching(r"[a-z][a-z0-9_]*"), object]),
)
MODELS = Kind(
    "in TOML a table for each name without spaces, elsewhere one such as "
    '{small = {model = "/models/small.gguf"}}',
    TABLES.parse,
    converts(Annotated[dict[matching(_NAME), dict[str, object]], Meta(min_length=1)]),
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
    """One setting, as the command line and the documentation show it. A secret has no flag: every process of
    the machine sees flags.
    """

    name: str
    kind: Kind[Any]  # of the field's own type
    default: object
    help: str
    secret: bool

    @property
    def variable(self) -> str:
        return VARIABLE_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def setting(default: T, kind: Kind[Any], help: str, *, secret: bool = False) -> T:
    """A field of the table of settings."""
    return field(default=default, repr=not secret, metadata={"kind": kind, "help": help, "secret": secret})
