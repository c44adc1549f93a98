"""The spans of a test, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


class CapturedSpans:
    """Keeps every span that ends; its provider is for ``SessionFactory(tracer_provider=...)``.

    Attributes:
        provider: Makes the spans and samples all of them. OpenTelemetry's global provider stays
            what it was.
    """

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def finished(self) -> tuple[ReadableSpan, ...]:
        """Every span that has ended, in the order in which they did."""
        return self._exporter.get_finished_spans()

    @property
    def calls(self) -> list[ReadableSpan]:
        """The spans of calls. A client that cannot resend has none unless it is told to."""
        return [span for span in self.finished if span.kind is SpanKind.INTERNAL]

    @property
    def attempts(self) -> list[ReadableSpan]:
        """The spans of attempts."""
        return [span for span in self.finished if span.kind is SpanKind.CLIENT]

    def attempts_of(self, call: ReadableSpan) -> list[ReadableSpan]:
        """Return the spans of the attempts that *call* made."""
        return [
            span
            for span in self.attempts
            if span.parent is not None
            and call.context is not None
            and span.parent.span_id == call.context.span_id
        ]

    def clear(self) -> None:
        """Forget every span that has ended."""
        self._exporter.clear()
