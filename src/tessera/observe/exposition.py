"""All metrics as Prometheus reads them: those of the API processes, the engines' own, and the parent's."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import (
    MultiProcessCollector,
    mark_process_dead,  # pyright: ignore[reportUnknownVariableType]
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tessera.observe.metrics import Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

EngineReadings: TypeAlias = Mapping[str, Mapping[str, int]]
"""What engines count, by the id of their model and the engine's name of the count."""

_BY_MODEL = ("model",)

# What the engine calls it, what we call it, what it is.
ENGINE_GAUGES = (
    ("up", "tessera_engine_up", "Whether the engine is ready: 1, or 0."),
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


class ParentMetrics:
    """What the parent process counts and measures, whatever the number of API processes."""

    def __init__(self, spool_folder: Path | None = None) -> None:
        """The free space is that of `spool_folder`."""
        self._spool_folder = spool_folder
        about = "Thresholds of budgets that were crossed, in percent."
        self.budget_warnings = Counter("tessera_budget_warnings", about, ["percent"], registry=None)
        about = "Messages about budgets that the webhook did not take."
        self.webhook_failures = Counter("tessera_budget_webhook_failures", about, registry=None)

    def register(self, registry: CollectorRegistry) -> None:
        registry.register(self.budget_warnings)
        registry.register(self.webhook_failures)
        if self._spool_folder:
            registry.register(DiskSpace(self._spool_folder))


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


class DiskSpace(Collector):
    """The free space of the disk that a folder is on, read at every scrape."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Nothing while the folder does not exist."""
        try:
            n_bytes = shutil.disk_usage(self._folder).free
        except OSError:
            return
        about = "Free space where usage waits for the store."
        yield GaugeMetricFamily("tessera_disk_free_bytes", about, value=n_bytes)


def exposition(
    metrics: Metrics | None,
    engines: Callable[[], EngineReadings],
    shared: Path | None = None,
    parent: ParentMetrics | None = None,
) -> Callable[[], bytes]:
    """Returns a function that renders all metrics for Prometheus: those of this process, or those that
    several processes wrote into `shared`, the engines', and the parent's.
    """
    registry = metrics.registry if metrics and not shared else CollectorRegistry()
    (parent or ParentMetrics()).register(registry)
    registry.register(EngineCounts(engines))
    if shared:
        MultiProcessCollector(registry, str(shared))
    return lambda: generate_latest(registry)


def merged(texts: Mapping[str, bytes]) -> bytes:
    """What several replicas expose, by their names, as one text: each sample gets the label `replica`."""
    registry = CollectorRegistry()
    registry.register(_Merged(texts))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, texts: Mapping[str, bytes]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for replica, text in sorted(self._texts.items()):
            for found in text_string_to_metric_families(text.decode()):
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                for sample in found.samples:
                    labels = {**sample.labels, "replica": replica}
                    family.add_sample(sample.name, labels, sample.value, sample.timestamp)
        yield from families.values()


def forget(pid: int, shared: Path) -> None:
    """Drops the gauges of a process that has ended; its counters still count."""
    mark_process_dead(pid, str(shared))
