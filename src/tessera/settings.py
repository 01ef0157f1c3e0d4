"""Every setting: its name, what it may be, its default, and what it does.

`Settings` is the one table. From it come the keys of the TOML file, the `TESSERA_…` variables and the flags
of `tessera serve`, which `configuration` reads.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, cast

from tessera.kinds import (
    ADMIN_KEY,
    FOLDER,
    HTTP_URL,
    KEY,
    MODELS,
    NAME,
    NAMES,
    OPTIONS,
    ORIGINS,
    PEPPER,
    PROXIES,
    REDIS_URL,
    SPEC,
    SWITCH,
    TABLES,
    URL,
    ModelTables,
    Options,
    Row,
    Tables,
    choice,
    integer,
    number,
    setting,
    size,
)


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
    previous_api_key: str | None = setting(
        None,
        KEY,
        "The former API key, which stays valid while clients change to the new one.",
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
    previous_pepper: str | None = setting(
        None,
        PEPPER,
        "The pepper before a rotation, while keys that were made with it are still valid.",
        secret=True,
    )
    key_cache_s: float = setting(
        30.0, number(0.1, 30), "Seconds within which a change of an account or a key takes effect everywhere."
    )
    model: str | None = setting(
        None, SPEC, "Folder of a model, GGUF file or hub id; without it, the embedded model is served."
    )
    model_name: str | None = setting(
        None, NAME, "Name of the model in replies; without it, the model's own name."
    )
    aliases: tuple[str, ...] | None = setting(
        None,
        NAMES,
        "Other names by which requests may select the model; without it, Qwen/Qwen3.6-35B-A3B for the "
        "embedded model and those of its family.",
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
        None,
        FOLDER,
        "Python of the engine process; without it, the server's own, or that of vLLM's environment.",
    )
    offline: bool = setting(False, SWITCH, "Never use the network to get a model.")
    cache_dir: Path | None = setting(
        None, FOLDER, "Where models are kept; without it, the user's cache directory."
    )
    context_tokens: int | None = setting(
        None, integer(64, 2**24), "Most tokens of a prompt and its reply; without it, the model's own limit."
    )
    default_output_tokens: int | None = setting(
        None,
        integer(1, 2**24),
        "Most tokens of a reply whose request sets no limit; without it, 1024 for the embedded model, and "
        "the rest of the context for any other.",
    )
    loop_tokens: int = setting(
        1024,
        integer(0, 2**20),
        "A reply ends when its last tokens, as many as this, repeat one block four times or more; 0 never "
        "ends one.",
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
        False,
        SWITCH,
        "llama.cpp and vLLM give the same tokens whatever else runs; llama.cpp then shares no prefixes.",
    )
    speculative: Literal["none", "mtp"] = setting(
        "none",
        choice("none", "mtp"),
        "mtp lets vLLM draft tokens with the model's own prediction layers; prefixes are then not shared.",
    )
    engine_options: Options | None = setting(
        None, OPTIONS, "vLLM's own engine arguments, by their names: see GPU servers."
    )
    scripted_tokens_per_s: float = setting(
        100.0,
        number(0, 1e6),
        "Tokens per second of each sequence of the scripted engine; 0 sends everything at once.",
    )
    forwarded_allow_ips: tuple[str, ...] = setting(
        (), PROXIES, "Proxies whose X-Forwarded-For is believed, for the addresses in the log; * trusts any."
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
    replica_idle_s: float = setting(
        600.0, number(0, 86_400), "Seconds of less load after which a cluster ends a replica."
    )
    replica_cpus: float = setting(1.0, number(0, 4096), "Processor cores that a cluster gives a replica.")
    replica_gpus: float = setting(0.0, number(0, 64), "GPUs that a cluster gives a replica.")
    replica_memory_bytes: int | None = setting(
        None, size(2**20), "Main memory that a cluster gives a replica; without it, it is not counted."
    )
    front_replicas: int = setting(
        1, integer(1, 1000), "Fronts of a cluster, which find the model and the replica of each request."
    )
    front_cpus: float = setting(1.0, number(0, 4096), "Processor cores that a cluster gives a front.")
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
    budget_webhook_url: str | None = setting(
        None, HTTP_URL, "Where warnings of budgets are sent, at 80 and at 100 percent: see Budgets."
    )
    budget_webhook_secret: str | None = setting(
        None,
        ADMIN_KEY,
        "Secret for the signatures of these messages; they need one.",
        secret=True,
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
    "default_output_tokens",
    "loop_tokens",
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
    "speculative",
    "engine_options",
    "scripted_tokens_per_s",
    "engine_hang_s",
    "min_replicas",
    "max_replicas",
    "requests_per_replica",
    "replica_idle_s",
    "replica_cpus",
    "replica_gpus",
    "replica_memory_bytes",
)
"""The settings that the table of a model may hold."""


ROWS: tuple[Row, ...] = tuple(
    Row(name=field.name, default=field.default, **field.metadata) for field in fields(Settings)
)


def model_settings(settings: Settings) -> tuple[Settings, ...]:
    """The settings of each model: of several, each has its own table over the rest."""
    if settings.models is None:
        return (settings,)
    return tuple(
        replace(settings, **cast("dict[str, Any]", {"aliases": (), **table}), models=None, model_name=name)
        for name, table in settings.models.items()
    )
