"""Spans on their way to a collector, by OTLP over HTTP: the one module that knows OpenTelemetry.

A thread sends them in batches. What waits is bounded, and what a collector does not take in time is lost:
no request waits for it, and none fails because of it. The variables OTEL_… that the library reads (headers,
resource attributes, the sampler) hold here too.
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
from tessera.observe.logs import log
from tessera.observe.metrics import Metrics
from tessera.observe.spans import Trace

_PATH = "/v1/traces"
_CLOSING_S = 2.0

_logger = logging.getLogger(__name__)


class OtlpTraces:
    """`Traces` to the collector at `endpoint`, such as http://collector:4318."""

    def __init__(self, endpoint: str, metrics: Metrics) -> None:
        """Nothing is connected before there is a span."""
        own = Resource({"service.name": "tessera", "service.version": __version__})
        provider = TracerProvider(resource=own.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + _PATH)
        self._processor = BatchSpanProcessor(_Noticing(exporter, metrics))
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("tessera", __version__)
        self._parents = TraceContextTextMapPropagator()

    def report(self, trace: Trace) -> None:
        """See `Traces`."""
        told = trace.span()
        # Of its caller a span knows the ids: `tracestate` is free text.
        parent = self._parents.extract({"traceparent": told.traceparent} if told.traceparent else {})
        span = self._tracer.start_span(
            told.name, parent, SpanKind.SERVER, told.attributes, start_time=told.begun_ns
        )
        for name, at_ns in told.events:
            span.add_event(name, timestamp=at_ns)
        if told.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(told.ended_ns)

    async def aclose(self) -> None:
        """See `Traces`."""
        # A thread that nobody waits for at the end: a collector may be silent for long.
        closing = threading.Thread(target=self._processor.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _CLOSING_S)


class _Noticing(SpanExporter):
    """Counts what is lost, and logs the first and the last time of it."""

    def __init__(self, exporter: SpanExporter, metrics: Metrics) -> None:
        self._exporter = exporter
        self._lost = metrics.spans_lost
        self._is_down = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `SpanExporter`."""
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
        """See `SpanExporter`."""
        self._exporter.shutdown()
