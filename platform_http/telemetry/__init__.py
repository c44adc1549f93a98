"""What operators see of the calls: spans, metrics, logs, and the set-up that sends them away.

Importing it loads the OpenTelemetry API and prometheus_client, never an SDK, an exporter or grpc:
only :func:`~platform_http.telemetry.setup.configure_telemetry` loads those, when it is called.
"""
