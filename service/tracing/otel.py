"""Makes OpenTelemetry spans of requests that were answered, and sends them over OTLP/HTTP.

The only module that imports OpenTelemetry. Its own variables, such as OTEL_EXPORTER_OTLP_HEADERS, _CERTIFICATE and
OTEL_RESOURCE_ATTRIBUTES, hold here too: its libraries read them.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from ..metrics import Metrics
from .stages import stages_of
from .tracing import EXPORTED, FAILED, Traced
from .w3c import TraceContext

log = logging.getLogger(__name__)

SERVICE_NAME = "shelfscore"
ROUTE = "/score"
REQUESTS_TOGETHER = 128
"""Of one export: some 800 spans."""

TIMEOUT_S = 5.0
"""Of one export with all its attempts."""

SERVER_ERROR = 500

Value = str | int | float | bool


class Exporter:
    """Belongs to the thread that exports.

    Args:
        endpoint: the collector's URL; one without a path gets /v1/traces.
        metrics: told what became of the spans.
        clock: on which requests were timed, monotonic, in seconds.
        wall_clock: seconds since 1970.
        exporter: takes the spans; OTLP over HTTP if None.
    """

    def __init__(
        self,
        endpoint: str,
        metrics: Metrics,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
        exporter: SpanExporter | None = None,
    ) -> None:
        resource = Resource.create(
            {"service.version": version("shelfscore"), "service.instance.id": os.urandom(16).hex()}
        )
        # The environment may have named it.
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": SERVICE_NAME}))
        self._resource = resource
        self._scope = InstrumentationScope("shelfscore", version("shelfscore"))
        self._metrics = metrics
        self._clock = clock
        self._wall_clock = wall_clock
        self._exporter = exporter or OTLPSpanExporter(_with_path(endpoint), timeout=TIMEOUT_S)
        # It would quote a caller's malformed tracestate, once for each span.
        logging.getLogger("opentelemetry.trace.span").setLevel(logging.ERROR)

    def export(self, requests: Sequence[Traced]) -> None:
        """Sends the spans of requests. A collector that does not take them loses them, and nothing else."""
        waiting = iter(requests)
        while some := list(islice(waiting, REQUESTS_TOGETHER)):
            try:
                sent = self._exporter.export(self._spans(some)) is SpanExportResult.SUCCESS
            except Exception:
                log.exception("spans could not be exported")
                sent = False
            self._metrics.traced_requests.labels(EXPORTED if sent else FAILED).inc(len(some))

    def shut_down(self) -> None:
        """Has an export that is waiting to try again give up. Called by another thread."""
        self._exporter.shutdown()

    def _spans(self, requests: Sequence[Traced]) -> list[ReadableSpan]:
        # One reading for all of them: no clock's jump comes between a span and its children.
        since_1970_s = self._wall_clock() - self._clock()
        return [span for request in requests for span in self._of_request(request, since_1970_s)]

    def _of_request(self, request: Traced, since_1970_s: float) -> Iterator[ReadableSpan]:
        info, status = request.info, request.status
        trace = info.trace
        assert trace is not None
        own = _context(trace, trace.span_id)
        parent = None if trace.parent_id is None else _context(trace, trace.parent_id, remote=True)

        def span(
            name: str,
            context: SpanContext,
            parent: SpanContext | None,
            started: float,
            ended: float,
            attributes: Mapping[str, Value],
            *,
            kind: SpanKind = SpanKind.INTERNAL,
            failed: bool = False,
        ) -> ReadableSpan:
            return ReadableSpan(
                name,
                context,
                parent,
                resource=self._resource,
                attributes=dict(attributes),
                kind=kind,
                instrumentation_scope=self._scope,
                status=Status(StatusCode.ERROR) if failed else Status(StatusCode.UNSET),
                start_time=round((started + since_1970_s) * 1e9),
                end_time=round((ended + since_1970_s) * 1e9),
            )

        failed = status is None or status >= SERVER_ERROR
        yield span(
            f"POST {ROUTE}",
            own,
            parent,
            info.arrival,
            request.ended,
            _attributes(request, failed=failed),
            kind=SpanKind.SERVER,
            failed=failed,
        )
        for stage in stages_of(info, request.ended):
            context = _context(trace, os.urandom(8).hex())
            yield span(stage.name, context, own, stage.started, stage.ended, {})


def _attributes(request: Traced, *, failed: bool) -> dict[str, Value]:
    """By OpenTelemetry's conventions for HTTP servers, and a few of our own. No text of a query or a product."""
    info, status = request.info, request.status
    attributes: dict[str, Value] = {
        "http.request.method": "POST",
        "http.route": ROUTE,
        "url.path": ROUTE,
        "shelfscore.request_id": info.request_id,
    }
    if status is not None:
        attributes["http.response.status_code"] = status
    for name in ("products", "model", "version", "complete"):
        if name in info.log_fields:
            attributes[f"shelfscore.{name}"] = info.log_fields[name]
    if failed:
        attributes["error.type"] = request.error or str(status or "broken")
    return attributes


def _with_path(endpoint: str) -> str:
    return f"{endpoint.rstrip('/')}/v1/traces" if urlsplit(endpoint).path in ("", "/") else endpoint


def _context(trace: TraceContext, span_id: str, *, remote: bool = False) -> SpanContext:
    state = TraceState.from_header([trace.state.decode("latin-1")]) if trace.state else TraceState()
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED), state)
