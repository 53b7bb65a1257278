"""Spans on their way to a collector: in batches, by a thread of their own, and never waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock, Thread

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, Counter

from sage_common.logging import get_logger

log = get_logger(__name__)

# Spans that may wait for the collector; what ends beyond that is dropped.
MOST_WAITING = 2048
BATCH_SPANS = 512
# Longest wait, at the end of a process, for a collector that does not answer.
STOP_SECONDS = 2.0


class SpanCounts:
    """What became of the spans of this process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.exported = Counter("sage_trace_spans_exported", "Spans that the collector has taken.", registry=registry)
        self.dropped = Counter(
            "sage_trace_spans_dropped", "Spans that were not sent, by why.", ["reason"], registry=registry
        )


class SpanExport(SpanProcessor):
    """Sends spans to a collector.

    Spans that end while ``most_waiting`` wait, and those that the collector does not take, are dropped and counted.
    """

    def __init__(
        self, exporter: SpanExporter, registry: CollectorRegistry, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._most_waiting = most_waiting
        self._waiting = 0
        self._taken = True
        # Spans end in the service's thread and leave in the exporter's.
        self._lock = Lock()
        counts = SpanCounts(registry)
        self._exported = counts.exported
        self._full = counts.dropped.labels("queue_full")
        self._failed = counts.dropped.labels("not_taken")
        self._exporter = exporter
        counted = _Counted(exporter, self._left)
        self._batches = BatchSpanProcessor(
            counted, max_queue_size=most_waiting, max_export_batch_size=min(BATCH_SPANS, most_waiting)
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span that has ended, or drop it."""
        with self._lock:
            fits = self._waiting < self._most_waiting
            self._waiting += fits
        if fits:
            self._batches.on_end(span)
        else:
            self._full.inc()

    def _left(self, count: int, result: SpanExportResult) -> None:
        taken = result is SpanExportResult.SUCCESS
        (self._exported if taken else self._failed).inc(count)
        if taken is not self._taken:
            # Told once, not with every batch.
            self._taken = taken
            if taken:
                log.info("collector takes spans again")
            else:
                log.warning("collector does not take spans; they are dropped and counted")
        with self._lock:
            self._waiting -= count

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits, now, in the calling thread."""
        return self._batches.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """Send what waits and stop. Blocks for as long as the collector takes, up to ``STOP_SECONDS``."""
        # The SDK would wait for half a minute.
        stopping = Thread(target=self._batches.shutdown, name="trace-export-stop", daemon=True)
        stopping.start()
        stopping.join(STOP_SECONDS)
        if stopping.is_alive():
            self._exporter.shutdown()


class _Counted(SpanExporter):
    """Tells how many spans have left, and whether they were taken."""

    def __init__(self, exporter: SpanExporter, left: Callable[[int, SpanExportResult], None]) -> None:
        self._exporter = exporter
        self._left = left

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self._left(len(spans), result)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
