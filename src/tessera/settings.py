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
        None,
        KEY,
        "A valid API key. Without one, a key is generated at every start and printed once.",
        secret=True,
    )
    database_url: str | None = setting(
        None,
        URL,
        "Store of accounts, keys and usage; without it, SQLite in the user's data directory.",
        secret=True,
    )
    pepper: str | None = setting(
        None,
        PEPPER,
        "Secret for the HMAC of keys; without it, a file beside the SQLite store, which is created once.",
        secret=True,
    )
    key_cache_s: float = setting(
        30.0, number(0.1, 30), "Seconds within which a change of an account or a key takes effect everywhere."
    )
    model: str | None = setting(
        None, SPEC, "OpenVINO IR folder, GGUF file or hub id; without it, the embedded model is served."
    )
    model_name: str | None = setting(
        None, NAME, "Name of the model in replies; without it, the model's own name."
    )
    aliases: tuple[str, ...] = setting(
        ("Qwen/Qwen3.6-35B-A3B",), NAMES, "Other names by which requests may select the model."
    )
    models: ModelTables | None = setting(
        None, MODELS, "Several models instead of one, each with its own settings: see Several models."
    )
    engine: str = setting(
        "auto",
        NAME,
        "Inference engine; auto chooses by the model, scripted needs no model and replies with a sentence or "
        "the shortest valid JSON.",
    )
    engine_python: Path | None = setting(
        None, FOLDER, "Python interpreter of the engine process; without it, the server's own."
    )
    offline: bool = setting(False, SWITCH, "Never use the network to get a model.")
    cache_dir: Path | None = setting(
        None, FOLDER, "Where models are kept; without it, the user's cache directory."
    )
    context_tokens: int | None = setting(
        None, integer(64, 2**24), "Most tokens of a prompt and its reply; without it, the model's own limit."
    )
    kv_cache_bytes: int = setting(2**30, size(2**24), "Memory for the keys and values of all requests.")
    grammar_bytes: int = setting(
        2**28, size(2**24), "Memory for compiled grammars, which grow with schemas and with their use."
    )
    max_sequences: int = setting(64, integer(1, 1024), "Most sequences that are computed at once.")
    step_tokens: int = setting(256, integer(1, 65536), "Most prompt tokens in one step of the engine.")
    step_gap_s: float = setting(
        0.2,
        number(0.001, 3600),
        "Target for a step while replies run, in seconds; a quarter of it with prompts.",
    )
    precision: Literal["auto", "f32"] = setting(
        "auto",
        choice("auto", "f32"),
        "f32 computes exactly, auto in the format that is fastest on the processor.",
    )
    threads: int = setting(0, integer(0, 1024), "Threads of the engine; 0 uses every core.")
    llama_library: Path | None = setting(
        None, FOLDER, "Library of llama.cpp; without it, that of llama-cpp-python or xllamacpp."
    )
    gpu_layers: int | None = setting(
        None, integer(0, 1024), "Layers that llama.cpp computes on GPUs; without it, as many as fit."
    )
    cpu_experts: int = setting(
        0, integer(0, 1024), "Layers, from the first on, whose experts llama.cpp keeps in main memory."
    )
    kv_type: Literal["f16", "q8_0"] = setting(
        "f16",
        choice("f16", "q8_0"),
        "Format in which llama.cpp stores keys and values; q8_0 takes half the memory.",
    )
    state_bytes: int = setting(
        2**31, size(2**20), "Memory for the recurrent states of hybrid models in llama.cpp."
    )
    exact: bool = setting(
        False, SWITCH, "llama.cpp gives the same tokens whatever else runs, and shares no prefixes."
    )
    scripted_tokens_per_s: float = setting(
        100.0,
        number(0, 1e6),
        "Tokens per second of each sequence of the scripted engine; 0 sends everything at once.",
    )
    cors_origins: tuple[str, ...] = setting(
        (), ORIGINS, "Origins whose web pages may call the API; * allows any."
    )
    web: bool = setting(
        True, SWITCH, "Serve web pages: the documentation, the playground and the usage of a key."
    )
    max_body_bytes: int = setting(8 * 2**20, size(2**10), "Largest body of a request.")
    account_body_bytes: int | None = setting(
        None, size(2**10), "Memory for the bodies of one account; without it, enough for two of the largest."
    )
    priority_body_bytes: int | None = setting(
        None,
        size(2**10),
        "Memory for the bodies of one priority; without it, enough for four of the largest.",
    )
    body_deadline_s: float = setting(
        30.0, number(0.1, 3600), "Seconds that a body may take to arrive, or may wait before it is received."
    )
    keep_alive_s: float = setting(
        10.0, number(0.1, 3600), "Seconds without data after which a stream sends a comment."
    )
    send_deadline_s: float = setting(
        30.0, number(0.1, 3600), "Seconds without reading after which a client is disconnected."
    )
    workers: int = setting(1, integer(1, 64), "API processes, which share one engine.")
    worker_hang_s: float = setting(
        30.0,
        number(2, 3600),
        "Seconds without a heartbeat after which one of several API processes is restarted.",
    )
    max_running: int | None = setting(
        None,
        integer(1, 2**20),
        "Most choices of a model answered at once; without it, as many as its engine can use.",
    )
    reserved_share: float = setting(
        0.1, number(0, 1), "Share of the places that is reserved for each priority above the lowest."
    )
    max_queued: int = setting(
        256, integer(0, 2**20), "Most requests that wait for a model in the queue of each priority."
    )
    queue_deadline_s: float = setting(
        60.0, number(0.01, 3600), "Seconds that a request may wait in the queue."
    )
    deadline_s: float = setting(600.0, number(0.1, 86_400), "Seconds that a request may take in total.")
    tiers: Tables | None = setting(
        None, TABLES, "Changes to the tiers, and new ones: see Tiers and limits in Operations."
    )
    redis_url: str | None = setting(
        None,
        REDIS_URL,
        "Redis or Valkey where API processes count requests together; without it, each applies its share.",
        secret=True,
    )
    min_replicas: int = setting(
        1, integer(0, 10_000), "Fewest replicas of a model on a cluster: see Clusters."
    )
    max_replicas: int | None = setting(
        None, integer(1, 10_000), "Most replicas of a model on a cluster; without it, as many as the fewest."
    )
    requests_per_replica: int | None = setting(
        None,
        integer(1, 2**20),
        "Running requests per replica that a cluster aims at; without it, max_sequences.",
    )
    replica_cpus: float = setting(1.0, number(0, 4096), "Processor cores that a cluster gives a replica.")
    replica_gpus: float = setting(0.0, number(0, 64), "GPUs that a cluster gives a replica.")
    replica_memory_bytes: int | None = setting(
        None, size(2**20), "Main memory that a cluster gives a replica; without it, it is not counted."
    )
    engine_hang_s: float = setting(
        30.0, number(0.5, 3600), "Seconds without a heartbeat after which the engine is restarted."
    )
    drain_delay_s: float = setting(0.0, number(0, 600), "Seconds for a load balancer to notice a shutdown.")
    shutdown_grace_s: float = setting(
        30.0, number(0, 3600), "Seconds for running replies to finish at shutdown."
    )
    admin_host: str = setting("127.0.0.1", NAME, "Address of the admin listener.")
    admin_port: int | None = setting(
        None, integer(0, 65535), "Port of the admin listener (metrics, admin API); without it, there is none."
    )
    admin_key: str | None = setting(
        None,
        ADMIN_KEY,
        "Key of the admin API; without it, the admin listener has only metrics.",
        secret=True,
    )
    usage_retention_days: int = setting(
        90,
        integer(1, 36_500),
        "Days for which the usage of each request is kept; after that, only sums by day.",
    )
    otlp_endpoint: str | None = setting(
        None,
        HTTP_URL,
        "OpenTelemetry collector that receives a trace of every chat request, by OTLP over HTTP.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", choice("debug", "info", "warning", "error"), "Least severe level that is logged."
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
    "llama_library",
    "gpu_layers",
    "cpu_experts",
    "kv_type",
    "state_bytes",
    "exact",
    "scripted_tokens_per_s",
    "engine_hang_s",
    "min_replicas",
    "max_replicas",
    "requests_per_replica",
    "replica_cpus",
    "replica_gpus",
    "replica_memory_bytes",
)
"""The settings that the table of a model may hold."""


ROWS: tuple[Row, ...] = tuple(
    Row(name=field.name, default=field.default, **field.metadata) for field in fields(Settings)
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
