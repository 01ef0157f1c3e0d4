"""Reads the settings: a flag wins over a variable, a variable over the TOML file.

The file is found by the service and by all commands in the same way (`find_config`). An unknown name or a bad
value stops the start, and the message names it, what it may be, and where it came from.
"""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tessera.errors import StartupError
from tessera.kinds import VARIABLE_PREFIX, ModelTables, Row
from tessera.settings import MODEL_SETTINGS, ROWS, Settings

# Variables that are no settings: the TOML file, and the server that `tessera chat` and `bench` ask.
OTHER_VARIABLES = ("TESSERA_CONFIG", "TESSERA_URL")

MACHINE_CONFIG = Path("/etc/tessera/tessera.toml")
"""The file of the machine's service. It comes before the file of the user who runs a command: on a machine
with a service, a command is meant for the store of the service.
"""

_BY_NAME: Mapping[str, Row] = {row.name: row for row in ROWS}
_BY_VARIABLE: Mapping[str, Row] = {row.variable: row for row in ROWS}


def load(flags: Mapping[str, str], environment: Mapping[str, str], config: Path | None = None) -> Settings:
    """Load the settings. `flags` has texts by the names of settings; the TOML file is `config`, or else the
    one of `find_config`.

    Raises `StartupError` with a line for each wrong name or value.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    named = config or find_config(environment)
    for key, value in (_read_toml(named) if named else {}).items():
        _accept(_BY_NAME.get(key), key, value, f"in {named}", values, problems)
    for variable in sorted(environment):
        if variable.startswith(VARIABLE_PREFIX) and variable not in OTHER_VARIABLES:
            row = _BY_VARIABLE.get(variable)
            _accept(row, variable, environment[variable], "", values, problems, parse=True)
    for name, value in flags.items():
        _accept(_BY_NAME[name], _BY_NAME[name].flag, value, "", values, problems, parse=True)
    if "models" in values:
        values["models"] = _read_models(values, problems)
    if problems:
        raise StartupError("\n".join(problems))
    return Settings(**cast("dict[str, Any]", values))


def find_config(environment: Mapping[str, str], machine: Path = MACHINE_CONFIG) -> Path | None:
    """The TOML file that TESSERA_CONFIG names or, without it, the first that there is: that of the `machine`,
    then that of the user. Only one is read. Raises `StartupError` if it cannot be known whether there is one.
    """
    if named := environment.get("TESSERA_CONFIG"):
        return Path(named)
    home = environment.get("HOME")
    of_users = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else None)
    candidates = [machine, *([Path(of_users) / "tessera/tessera.toml"] if of_users else [])]
    for path in candidates:
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(path, error) from error
        return path
    return None


def _read_models(values: Mapping[str, object], problems: list[str]) -> ModelTables:
    """The tables of `models`, their values checked."""
    for name in ("model", "model_name", "aliases"):
        if name in values:
            problems.append(f"{name} and models cannot both be set: put {name} into the table of a model.")
    tables: dict[str, Mapping[str, object]] = {}
    for name, table in cast("ModelTables", values["models"]).items():
        tables[name] = checked = dict[str, object]()
        for key, value in table.items():
            row = _BY_NAME[key] if key in MODEL_SETTINGS else None
            _accept(row, key, value, f"of models.{name}", checked, problems)
    return tables


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> StartupError:
    """Another user's file must not be passed over: the command would work on another store."""
    instead = ""
    if isinstance(error, PermissionError):
        instead = " Run the command as the user of the service, or name another file with TESSERA_CONFIG."
    match error:
        case OSError():
            reason = error.strerror
        case UnicodeDecodeError():
            reason = "it is not a text in UTF-8"
        case _:
            reason = f"it is no TOML: {error}"
    return StartupError(f"The settings file {path} cannot be read: {reason}.{instead}")


def _accept(
    row: Row | None,
    given_as: str,
    value: object,
    where: str,
    values: dict[str, object],
    problems: list[str],
    *,
    parse: bool = False,
) -> None:
    """Add the checked value to `values`, or a line about it to `problems`."""
    where = f" {where}" if where else ""
    if row is None:
        problems.append(f"{given_as}{where} is not a setting{_suggestion(given_as)}.")
        return
    try:
        values[row.name] = row.kind.check(row.kind.parse(str(value)) if parse else value)
    except ValueError:
        shown = "…" if row.secret else repr(value)
        problems.append(f"{given_as}{where} is {shown}: {row.kind.expects} is needed.")


def _suggestion(unknown: str) -> str:
    known = [row.variable for row in ROWS] if unknown.startswith(VARIABLE_PREFIX) else list(_BY_NAME)
    close = difflib.get_close_matches(unknown, known, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
