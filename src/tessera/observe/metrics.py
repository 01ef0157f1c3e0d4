"""Metrics for Prometheus.

Names are vLLM's, with our prefix, where vLLM has one. Labels are a model, an outcome, a status: never a key,
an id or anything that a client wrote.

With several API processes, each writes its counts into a shared directory: that is the client library's
multiprocess mode, which the variable PROMETHEUS_MULTIPROC_DIR switches on before the library is imported. The
parent process adds the counts up (`exposition`).
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

StoreCall: TypeAlias = Literal["key", "usage", "round"]
"""The look-up of a key, the writing of entries, and the heartbeat."""

_REQUEST_BOUNDS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600)
_WAIT_BOUNDS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKEN_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5)


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """The metrics whose only label is the model, for one model."""

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

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        # livesum: the gauges of a process that has died must not count.
        return Gauge(f"tessera_{name}", about, labels, registry=self.registry, multiprocess_mode="livesum")

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"tessera_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"tessera_{name}", about, labels, registry=self.registry, buckets=bounds)
