"""A collector of traces on loopback: takes OTLP over HTTP and keeps it."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver:
    """Receives spans over OTLP; keeps the bodies and the spans in them."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        received = self.bodies

        class Collector(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_known = self.path == "/v1/traces"
                if is_known:
                    received.append(body)
                self.send_response(200 if is_known else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def requests(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    def spans(self, at_least: int = 0) -> list[Span]:
        """The spans in the order in which they ended, once there are at least so many."""
        until = time.monotonic() + 60
        while len(found := self._spans()) < at_least:
            assert time.monotonic() < until, f"{len(found)} spans have come"
            time.sleep(0.01)
        return sorted(found, key=lambda span: span.end_time_unix_nano)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _spans(self) -> list[Span]:
        scopes = [
            scope for each in self.requests for part in each.resource_spans for scope in part.scope_spans
        ]
        return [span for scope in scopes for span in scope.spans]


def attributes(span: Span) -> dict[str, object]:
    return {each.key: plain(each.value) for each in span.attributes}


def plain(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    return getattr(value, str(kind))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()
