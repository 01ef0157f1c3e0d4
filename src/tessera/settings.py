"""Every setting: its name, what it may be, its default, and what it does.

`Settings` is the one table. From it come the keys of the TOML file, the `TESSERA_…` variables and the flags
of `tessera serve`; a flag wins over a variable, a variable over the file. An unknown name or a bad value
stops the start, and the message names it, what it may be, and where it came from.
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from tessera.errors import StartupError
from tessera.kinds import (
    ADMIN_KEY,
    FOLDER,
    HTTP_URL,
    KEY,
    MODELS,
    NAME,
    NAMES,
    ORIGINS,
    PEPPER,
    REDIS_URL,
    SPEC,
    SWITCH,
    TABLES,
    URL,
    VARIABLE_PREFIX,
    ModelTables,
    Row,
    Tables,
    choice,
    integer,
    number,
    setting,
    size,
)

# Variables that are no settings: the TOML file, and the server that `tessera chat` and `bench` ask.
OTHER_VARIABLES = ("TESSERA_CONFIG", "TESSERA_URL")


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, checked. None means what the help text says."""

    host: str = setting("127.0.0.1", NAME, "Address to listen on.")
    port: int = setting(8000, integer(0, 65535), "Port to listen on; 0 takes a free one.")
    api_key: str | None = setting(
        None, KEY, "A valid API key. Without one a key is made at every start and printed once.", secret=True
    )
    database_url: str | None = setting(
        None,
        URL,
        "Store of accounts, keys and usage; without it SQLite in the user's data directory.",
        secret=True,
    )
    pepper: str | None = setting(
        None,
        PEPPER,
        "What keys are hashed with; without it a file beside the SQLite store, which is made once.",
        secret=True,
    )
    key_cache_s: float = setting(
        30.0, number(0.1, 30), "Seconds within which a change of an account or a key acts everywhere."
    )
    model: str | None = setting(
        None, SPEC, "OpenVINO IR folder, GGUF file or hub id; without one the embedded model is served."
    )
    model_name: str | None = setting(None, NAME, "What replies call the model; without one its own name.")
    aliases: tuple[str, ...] = setting(
        ("Qwen/Qwen3.6-35B-A3B",), NAMES, "Other names that requests may give for the model."
    )
    models: ModelTables | None = setting(  # noqa: RUF009 - a dataclass field
        None, MODELS, "Several models in place of one, each with settings of its own: see Several models."
    )
    engine: str = setting(
        "openvino",
        NAME,
        "What computes; scripted answers without a model: a sentence, or the shortest reply of a schema.",
    )
    engine_python: Path | None = setting(  # noqa: RUF009 - a dataclass field
        None, FOLDER, "Python of the environment that the engine runs in; without one, the server's own."
    )
    offline: bool = setting(False, SWITCH, "Never use the network to get a model.")
    cache_dir: Path | None = setting(  # noqa: RUF009 - a dataclass field
        None, FOLDER, "Where models are kept; without it the user's cache directory."
    )
    context_tokens: int | None = setting(
        None, integer(64, 2**24), "Most tokens of a prompt and its reply; without it, what the model can do."
    )
    kv_cache_bytes: int = setting(2**30, size(2**24), "Memory for the keys and values of all requests.")
    grammar_bytes: int = setting(
        2**28, size(2**24), "Memory for compiled grammars, which grow with schemas and with their use."
    )
    max_sequences: int = setting(64, integer(1, 1024), "Most sequences that are computed at once.")
    step_tokens: int = setting(256, integer(1, 65536), "Most prompt tokens in one step of the engine.")
    step_gap_s: float = setting(0.2, number(0.001, 3600), "Most seconds of a step while replies run.")
    precision: Literal["auto", "f32"] = setting(
        "auto", choice("auto", "f32"), "f32 computes exactly, auto what the processor is fastest at."
    )
    threads: int = setting(0, integer(0, 1024), "Threads of the engine; 0 takes every core.")
    scripted_tokens_per_s: float = setting(
        100.0, number(0, 1e6), "The pace of the scripted engine, per sequence; 0 is at once."
    )
    cors_origins: tuple[str, ...] = setting((), ORIGINS, "Origins whose web pages may call; * is any.")
    web: bool = setting(True, SWITCH, "Serve pages: the documentation, the playground and a key's own usage.")
    max_body_bytes: int = setting(8 * 2**20, size(2**10), "Largest body of a request.")
    account_body_bytes: int | None = setting(
        None, size(2**10), "Bytes for bodies of one account; without it, for two of the largest."
    )
    priority_body_bytes: int | None = setting(
        None, size(2**10), "Bytes for bodies of a priority; without it, for four of the largest."
    )
    body_deadline_s: float = setting(
        30.0, number(0.1, 3600), "Seconds a body may take to arrive, or wait before it is received."
    )
    keep_alive_s: float = setting(
        10.0, number(0.1, 3600), "Seconds of silence before a stream sends a comment."
    )
    send_deadline_s: float = setting(
        30.0, number(0.1, 3600), "Seconds a client may not read before it is cut."
    )
    workers: int = setting(1, integer(1, 64), "API processes, which share one engine.")
    worker_hang_s: float = setting(
        30.0,
        number(2, 3600),
        "Seconds without a sign of life after which one of several API processes is started again.",
    )
    max_running: int | None = setting(
        None, integer(1, 2**20), "Most choices answered at once; without it, as many as the engine can use."
    )
    reserved_share: float = setting(
        0.1, number(0, 1), "Share of the places that each priority above the lowest has to itself."
    )
    max_queued: int = setting(256, integer(0, 2**20), "Most requests that wait, of each priority.")
    queue_deadline_s: float = setting(60.0, number(0.01, 3600), "Seconds a request may wait for its turn.")
    deadline_s: float = setting(600.0, number(0.1, 86_400), "Seconds a request may take in all.")
    tiers: Tables | None = setting(  # noqa: RUF009 - a dataclass field
        None, TABLES, "What tiers may use, over the defaults: see Tiers and limits in Operations."
    )
    redis_url: str | None = setting(
        None,
        REDIS_URL,
        "Where API processes count requests together; without it each has a share.",
        secret=True,
    )
    engine_hang_s: float = setting(
        30.0, number(0.5, 3600), "Seconds without a sign of life after which the engine is started again."
    )
    drain_delay_s: float = setting(
        0.0, number(0, 600), "Seconds that a load balancer gets to notice a shutdown."
    )
    shutdown_grace_s: float = setting(30.0, number(0, 3600), "Seconds that running replies get at shutdown.")
    admin_host: str = setting("127.0.0.1", NAME, "Address of the admin listener.")
    admin_port: int | None = setting(
        None, integer(0, 65535), "Port of the admin listener (metrics); without one there is none."
    )
    admin_key: str | None = setting(
        None,
        ADMIN_KEY,
        "The key of the admin API; without one, the admin listener has metrics only.",
        secret=True,
    )
    usage_retention_days: int = setting(
        90, integer(1, 36_500), "Days that a request's usage is kept; then the sums of its day."
    )
    otlp_endpoint: str | None = setting(
        None, HTTP_URL, "Collector that gets a trace of every chat request, by OTLP over HTTP."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", choice("debug", "info", "warning", "error"), "How much is logged."
    )
    log_format: Literal["auto", "console", "json"] = setting(
        "auto", choice("auto", "console", "json"), "auto is console on a terminal and json elsewhere."
    )


MODEL_SETTINGS = (
    "model",
    "aliases",
    "engine",
    "engine_python",
    "context_tokens",
    "kv_cache_bytes",
    "grammar_bytes",
    "max_sequences",
    "step_tokens",
    "step_gap_s",
    "precision",
    "threads",
    "scripted_tokens_per_s",
    "engine_hang_s",
)
"""Those that a model's table may hold."""
DEFAULTS = Settings()

ROWS: tuple[Row, ...] = tuple(
    Row(row.name, row.metadata["kind"], row.default, row.metadata["help"], row.metadata["secret"])
    for row in fields(Settings)
)
_BY_NAME: Mapping[str, Row] = {row.name: row for row in ROWS}
_BY_VARIABLE: Mapping[str, Row] = {row.variable: row for row in ROWS}


def load(flags: Mapping[str, str], environment: Mapping[str, str], config: Path | None = None) -> Settings:
    """Load the settings. `flags` has texts by the names of settings; the TOML file is `config`, or else what
    TESSERA_CONFIG names.

    Raises `StartupError` with a line for each wrong name or value.
    """
    problems: list[str] = []
    values: dict[str, object] = {}
    named = config or (Path(environment["TESSERA_CONFIG"]) if environment.get("TESSERA_CONFIG") else None)
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


def model_settings(settings: Settings) -> tuple[Settings, ...]:
    """The settings of each model: of several, each has its own table over the rest."""
    if settings.models is None:
        return (settings,)
    return tuple(
        replace(settings, **cast("dict[str, Any]", {"aliases": (), **table}), models=None, model_name=name)
        for name, table in settings.models.items()
    )


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
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StartupError(f"The settings file {path} cannot be read: {error}") from error


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
