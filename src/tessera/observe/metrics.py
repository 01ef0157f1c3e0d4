"""Metrics for Prometheus.

Names are vLLM's, with our prefix, where vLLM has one. Labels are a model, an outcome, a status: never a key,
an id or anything that a client wrote.

With several API processes, each writes its counts into a shared directory: that is the client library's
multiprocess mode, which the variable PROMETHEUS_MULTIPROC_DIR switches on before the library is imported. The
parent process adds the counts up.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.multiprocess import (
    MultiProcessCollector,
    mark_process_dead,  # pyright: ignore[reportUnknownVariableType]
)
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

EngineReadings: TypeAlias = Mapping[str, Mapping[str, int]]
"""What engines count, by the id of their model and the engine's name of the count."""

StoreCall: TypeAlias = Literal["key", "usage", "round"]
"""The look-up of a key, the writing of entries, and the heartbeat."""

_REQUEST_BOUNDS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600)
_WAIT_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKEN_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5)

_BY_MODEL = ("model",)

# What the engine calls it, what we call it, what it is.
ENGINE_GAUGES = (
    ("running", "tessera_engine_sequences_running", "Sequences that the engine is running."),
    ("waiting", "tessera_engine_sequences_waiting", "Sequences that wait in the engine."),
    ("resident_bytes", "tessera_engine_resident_bytes", "Resident memory of the engine's process."),
    ("cache_bytes", "tessera_engine_kv_cache_bytes", "Memory that the KV cache has touched so far."),
    ("kernel_bytes", "tessera_engine_kernel_bytes", "Memory of kernels compiled since the engine was ready."),
    ("grammar_bytes", "tessera_engine_grammar_bytes", "Memory of compiled grammars."),
    ("grammars_kept", "tessera_engine_grammars_kept", "Compiled grammars that are kept for reuse."),
)
ENGINE_COUNTERS = (
    ("n_steps", "tessera_engine_steps", "Steps of the engine."),
    ("prefix_queries", "tessera_prefix_cache_queries", "Prompt tokens looked up in the prefix cache."),
    ("prefix_hits", "tessera_prefix_cache_hits", "Prompt tokens found in the prefix cache."),
    ("n_restarts", "tessera_engine_restarts", "Restarts of the engine."),
)


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """The metrics of one model, cached: looking a metric up by its labels takes longer than counting."""

    running: Gauge
    waiting: Gauge
    queue_s: Histogram
    first_token_s: Histogram
    per_token_s: Histogram
    whole_s: Histogram
    prompt_tokens: Counter
    cached_tokens: Counter
    generation_tokens: Counter
    reasoning_tokens: Counter


class Metrics:
    """The counts of an API process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._of_models: dict[str, ModelMetrics] = {}
        self._meter_requests()
        self._meter_bodies()
        self._meter_store()
        self._meter_limits()

    def _meter_requests(self) -> None:
        model = "model"
        self.running = self._gauge("num_requests_running", "Chat requests that are being answered.", model)
        self.waiting = self._gauge("num_requests_waiting", "Chat requests that wait in the queue.", model)
        self.queue_s = self._histogram(
            "request_queue_time_seconds", "Time that a request waited in the queue.", _WAIT_BOUNDS_S, model
        )
        self.first_token_s = self._histogram(
            "time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            _WAIT_BOUNDS_S,
            model,
        )
        self.per_token_s = self._histogram(
            "request_time_per_output_token_seconds",
            "A request's mean time between tokens after the first.",
            _TOKEN_BOUNDS_S,
            model,
        )
        self.whole_s = self._histogram(
            "e2e_request_latency_seconds", "From a request's arrival to its end.", _REQUEST_BOUNDS_S, model
        )
        self.prompt_tokens = self._counter("prompt_tokens", "Prompt tokens.", model)
        self.cached_tokens = self._counter(
            "prompt_tokens_cached", "Prompt tokens that were found in the prefix cache.", model
        )
        self.generation_tokens = self._counter(
            "generation_tokens", "Tokens generated, reasoning included.", model
        )
        self.reasoning_tokens = self._counter(
            "reasoning_tokens", "Generated tokens that are reasoning.", model
        )
        self.successes = self._counter("request_success", "Choices that finished.", model, "finished_reason")
        self.failures = self._counter(
            "request_failure", "Requests that failed, by error code.", model, "code"
        )
        self.responses = self._counter("http_responses", "Responses by status.", "status")
        self.spans_lost = self._counter("spans_lost", "Spans that could not be sent to the collector.")

    def _meter_limits(self) -> None:
        about = "Requests that a limit or a key's permissions refused."
        self.refused = self._counter("requests_refused", about, "kind", "tier")
        about = "Choices that are being answered, by the priority of their tier."
        self.places = self._gauge("places_taken", about, "priority")
        about = "API processes that enforce limits alone because Redis does not answer."
        self.limiter_fallback = self._gauge("limiter_fallback", about)

    def _meter_bodies(self) -> None:
        about = "Bytes reserved for request bodies, those of refused requests included."
        self.body_bytes = self._gauge("request_body_bytes", about)
        about = "Request bodies that wait to be received or decoded."
        self.bodies_waiting = self._gauge("request_bodies_waiting", about)

    def _meter_store(self) -> None:
        self.ledger_lag_s = self._histogram(
            "ledger_lag_seconds", "From the end of a request until it is recorded.", _TOKEN_BOUNDS_S
        )
        self.ledger_failures = self._counter("ledger_failures", "Failed writes of usage.")
        self.store_up = Gauge(
            "tessera_store_up",
            "Whether every API process reaches the store: 1, or 0.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        about = "How long a call of the store takes, whether it succeeds or not."
        self.store_call_s = self._histogram("store_call_seconds", about, _WAIT_BOUNDS_S, "call")
        for call in get_args(StoreCall):
            self.store_call_s.labels(call)
        self.spooled = self._gauge("spool_entries", "Usage entries that wait for the store.")
        about = "Requests whose key was accepted from the cache because the store did not answer."
        self.stale_keys = self._counter("keys_stale", about)

    def of(self, model_id: str) -> ModelMetrics:
        """The metrics whose only label is the model."""
        known = self._of_models.get(model_id)
        if known is None:
            labelled = {each.name: getattr(self, each.name).labels(model_id) for each in fields(ModelMetrics)}
            known = self._of_models[model_id] = ModelMetrics(**labelled)
        return known

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        # livesum: the gauges of a process that has died must not count.
        return Gauge(f"tessera_{name}", about, labels, registry=self.registry, multiprocess_mode="livesum")

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"tessera_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"tessera_{name}", about, labels, registry=self.registry, buckets=bounds)


class EngineCounts(Collector):
    """The engines' own gauges and counters, read at every scrape."""

    def __init__(self, read: Callable[[], EngineReadings]) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """One family for each count that at least one engine has."""
        about = "Share of the KV cache that running sequences hold, from 0 to 1."
        usage = GaugeMetricFamily("tessera_kv_cache_usage_perc", about, labels=_BY_MODEL)
        families = [
            *((key, GaugeMetricFamily(name, about, labels=_BY_MODEL)) for key, name, about in ENGINE_GAUGES),
            *(
                (key, CounterMetricFamily(name, about, labels=_BY_MODEL))
                for key, name, about in ENGINE_COUNTERS
            ),
        ]
        for model_id, counts in self._read().items():
            for key, family in families:
                if key in counts:
                    family.add_metric([model_id], counts[key])
            if total := counts.get("blocks_total"):
                usage.add_metric([model_id], counts["blocks_used"] / total)
        yield from (family for family in (*(family for _, family in families), usage) if family.samples)


def exposition(
    metrics: Metrics | None, engines: Callable[[], EngineReadings], shared: Path | None = None
) -> Callable[[], bytes]:
    """Returns a function that renders all metrics for Prometheus: those of this process, or those that
    several processes wrote into `shared`, and the engines'.
    """
    registry = metrics.registry if metrics and not shared else CollectorRegistry()
    registry.register(EngineCounts(engines))
    if shared:
        MultiProcessCollector(registry, str(shared))
    return lambda: generate_latest(registry)


def forget(pid: int, shared: Path) -> None:
    """Drops the gauges of a process that has ended; its counters still count."""
    mark_process_dead(pid, str(shared))
