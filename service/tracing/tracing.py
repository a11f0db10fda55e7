"""Decides which requests are traced, and hands those on once they are answered."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from ..context import RequestInfo
from ..handover import Handover
from ..metrics import Metrics
from ..settings import Settings
from .w3c import TraceContext

MAX_WAITING = 2048
"""Requests whose spans wait for the exporter: more than a replica answers in the time that it looks again."""

EXPORTED, DROPPED, FAILED = "exported", "dropped", "failed"


class TracingError(Exception):
    """Tracing is asked for and cannot be had."""


@dataclass(frozen=True, slots=True)
class Traced:
    """An answered request.

    Attributes:
        status: None where nothing was sent.
        ended: monotonic, in seconds.
        error: the name of its class, where there was one.
    """

    info: RequestInfo
    status: int | None
    ended: float
    error: str | None = None


class Tracing:
    """Belongs to the event loop.

    Args:
        rate: share of the requests without a trace of their own for which one begins here.
        handover: to the exporter's thread.
        metrics: told of what is dropped.
        random_source: for the share.
        new_id: so many random bytes.
        shut_down: has the exporter give up what it is at.
    """

    def __init__(
        self,
        rate: float,
        handover: Handover[Traced],
        metrics: Metrics,
        random_source: random.Random,
        new_id: Callable[[int], bytes] = os.urandom,
        shut_down: Callable[[], None] = lambda: None,
    ) -> None:
        self._rate = rate
        self._handover = handover
        self._random = random_source
        self._new_id = new_id
        self._shut_down = shut_down
        self._dropped = metrics.traced_requests.labels(DROPPED)

    def begin(self, trace: TraceContext | None) -> TraceContext | None:
        """The trace of a scoring request, by what its caller said: its flag decides, and without one the rate does."""
        if trace is None:
            if self._random.random() >= self._rate:
                return None
            trace = TraceContext(self._new_id(16).hex(), None, sampled=True)
        if trace.sampled:
            trace.span_id = self._new_id(8).hex()
        return trace

    def end(self, info: RequestInfo, status: int | None, ended: float, error: str | None = None) -> None:
        """Takes note of a request that has been answered."""
        recorded = info.trace is not None and info.trace.recorded
        if recorded and not self._handover.offer(Traced(info, status, ended, error)):
            self._dropped.inc()

    def start(self) -> None:
        """Starts the exporter's thread."""
        self._handover.start()

    def stop(self) -> None:
        """Exports what waits, for a few seconds at most."""
        if not self._handover.stop():
            self._shut_down()


def check_tracing(settings: Settings) -> None:
    """Raises TracingError where the settings ask for what is not installed."""
    if settings.trace_endpoint is not None and not _installed():
        raise TracingError(
            "the setting trace_endpoint needs OpenTelemetry, which is not installed: pip install 'shelfscore[otel]'"
        )


def make_tracing(settings: Settings, metrics: Metrics, clock: Callable[[], float]) -> Tracing | None:
    """As the settings say; None where they name no endpoint, and then OpenTelemetry is not imported.

    Raises:
        TracingError: it is not installed.
    """
    if settings.trace_endpoint is None:
        return None
    check_tracing(settings)
    from .otel import Exporter

    exporter = Exporter(settings.trace_endpoint, metrics, clock)
    handover: Handover[Traced] = Handover(exporter.export, MAX_WAITING, "trace exporter")
    return Tracing(settings.trace_rate, handover, metrics, random.Random(), shut_down=exporter.shut_down)


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.sdk") is not None and find_spec("opentelemetry.exporter.otlp") is not None
    except ModuleNotFoundError:
        return False
