"""Spans on their way to a collector, by OTLP over HTTP: the one module that knows OpenTelemetry.

A thread sends them in batches. Its queue is bounded, and spans that the collector does not take in time are
lost: no request waits for them, and none fails because of them. The library's own variables, OTEL_…, hold
here too (headers, resource attributes, the sampler).
"""

import asyncio
import logging
import threading
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tessera import __version__
from tessera.core.record import RequestRecord, RequestStep
from tessera.observe.logs import log
from tessera.observe.metrics import Metrics
from tessera.observe.spans import span_of
from tessera.urls import with_path

_PATH = "/v1/traces"
_CLOSING_S = 2.0

_logger = logging.getLogger(__name__)


class OtlpTraces:
    """`Traces` to the collector at `endpoint`, such as http://collector:4318. The first span connects."""

    def __init__(self, endpoint: str, metrics: Metrics) -> None:
        own = Resource({"service.name": "tessera", "service.version": __version__})
        provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(with_path(endpoint, _PATH))
        self._processor = BatchSpanProcessor(_LossCounting(exporter, metrics))
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("tessera", __version__)
        self._parents = TraceContextTextMapPropagator()

    def reached(self, record: RequestRecord, step: RequestStep) -> None:
        pass

    def closed(self, record: RequestRecord) -> None:
        made = span_of(record)
        # Of its caller a span knows the ids: `tracestate` is free text.
        parent = self._parents.extract({"traceparent": made.traceparent} if made.traceparent else {})
        span = self._tracer.start_span(
            made.name, parent, SpanKind.SERVER, made.attributes, start_time=made.begun_ns
        )
        for name, at_ns in made.events:
            span.add_event(name, timestamp=at_ns)
        if made.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(made.ended_ns)

    async def aclose(self) -> None:
        # Nobody waits for this thread when the process ends: a collector may be silent for long.
        closing = threading.Thread(target=self._processor.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _CLOSING_S)


class _LossCounting(SpanExporter):
    """Counts spans that are lost; logs when that begins and when it ends."""

    def __init__(self, exporter: SpanExporter, metrics: Metrics) -> None:
        self._exporter = exporter
        self._lost = metrics.spans_lost
        self._is_down = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        is_down = result is not SpanExportResult.SUCCESS
        if is_down:
            self._lost.inc(len(spans))
        if is_down and not self._is_down:
            log(_logger, "warning", "traces cannot be sent", n_lost=len(spans))
        elif self._is_down and not is_down:
            log(_logger, "info", "traces can be sent again")
        self._is_down = is_down
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
