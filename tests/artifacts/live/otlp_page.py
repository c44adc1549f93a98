"""An OTLP receiver that shows what it got to a Prometheus."""

from __future__ import annotations

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

from tests.telemetry.otlp_to_prometheus import page
from tests.telemetry.receivers import GrpcReceiver

if TYPE_CHECKING:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics


class OtlpPage(GrpcReceiver):
    """Takes metrics over gRPC and serves the newest ones of each service, while it is entered.

    Attributes:
        port: Of the receiver, on loopback.
        page_port: Of the page, on loopback.
    """

    def __init__(self) -> None:
        super().__init__()
        self._newest: dict[str, ResourceMetrics] = {}

    def metrics_came(self, request: ExportMetricsServiceRequest) -> None:
        for resource in request.resource_metrics:
            identity = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self._newest[identity["service.instance.id"]] = resource

    def spans_came(self, request: ExportTraceServiceRequest) -> None:
        """Forget the spans: nobody asks for them."""

    def text(self) -> str:
        """Return the page."""
        return page(tuple(self._newest.values()))

    def __enter__(self) -> Self:
        super().__enter__()
        text = self.text

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = text().encode()
                # A Prometheus is ended in the middle of whatever it does.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/openmetrics-text; version=1.0.0")
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep the test output quiet."""

        self._pages = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._pages.daemon_threads = True
        self.page_port: int = self._pages.server_address[1]
        self._thread = threading.Thread(target=self._pages.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._pages.shutdown()
        self._pages.server_close()
        self._thread.join()
        super().__exit__(*exception)
