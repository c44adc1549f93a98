"""Receivers of OTLP that keep what they get, over gRPC and over HTTP."""

from __future__ import annotations

import gzip
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as trace_grpc


class Received:
    """What came in."""

    def __init__(self) -> None:
        self._resource_spans = []
        self._resource_metrics = []

    def spans_came(self, request: trace_pb2.ExportTraceServiceRequest) -> None:
        self._resource_spans += request.resource_spans

    def metrics_came(self, request: metrics_pb2.ExportMetricsServiceRequest) -> None:
        self._resource_metrics += request.resource_metrics

    def spans(self):
        return [
            span
            for resource in tuple(self._resource_spans)
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self):
        """Return the newest state of each metric."""
        return {
            metric.name: metric
            for resource in tuple(self._resource_metrics)
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def resource(self):
        (resource, *_) = (*self._resource_spans, *self._resource_metrics)
        return {pair.key: pair.value.string_value for pair in resource.resource.attributes}

    def wait(self, arrived, seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not arrived(self):
            assert time.monotonic() < deadline, "nothing arrived"
            time.sleep(0.02)


class GrpcReceiver(Received):
    def __enter__(self) -> Self:
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_grpc.add_TraceServiceServicer_to_server(_Traces(self), self._server)
        metrics_grpc.add_MetricsServiceServicer_to_server(_Metrics(self), self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()


class _Traces(trace_grpc.TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    def Export(self, request, context):  # noqa: N802 - the service's name for it
        self._received.spans_came(request)
        return trace_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_grpc.MetricsServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    def Export(self, request, context):  # noqa: N802 - the service's name for it
        self._received.metrics_came(request)
        return metrics_pb2.ExportMetricsServiceResponse()


class HttpReceiver(Received):
    def __enter__(self) -> Self:
        received = self
        self.headers = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                received.headers.append(dict(self.headers))
                if self.path == "/v1/traces":
                    received.spans_came(trace_pb2.ExportTraceServiceRequest.FromString(body))
                else:
                    assert self.path == "/v1/metrics"
                    message = metrics_pb2.ExportMetricsServiceRequest.FromString(body)
                    received.metrics_came(message)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep the test output quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
