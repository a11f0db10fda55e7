"""What is known of one HTTP request from its arrival on: kept in the ASGI scope, and its ids in the log's context."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from .job import StageTimes
from .outcomes import Ending
from .tracing.w3c import TraceContext

SCOPE_KEY = "shelfscore"
ARRIVAL_KEY = "shelfscore.arrival"
"""Where the connection leaves the time at which a request's head was whole."""

WHOLE_BODY_KEY = "shelfscore.whole_body"
"""Where it leaves a function that says whether the body has arrived, so that nothing has to be timed."""

LET_IN_KEY = "shelfscore.let_in"
"""Where the door leaves what it took a request for that it let in."""

current_request_id: ContextVar[str | None] = ContextVar("current_request_id", default=None)
current_trace_id: ContextVar[str | None] = ContextVar("current_trace_id", default=None)


@dataclass(slots=True)
class RequestInfo:
    """One request.

    Attributes:
        arrival: monotonic, in seconds.
        request_id: the caller's, or made.
        log_fields: what the access log adds for this route.
        trace: that it belongs to; None where the caller named none and none begins here.
        received: when its body was whole, on the same clock; None before.
        admitted: when it was; None before, and of a request that was refused.
        times: of its work, once it has been submitted.
        ending: of a POST /score that is answered.
    """

    arrival: float
    request_id: str
    log_fields: dict[str, Any] = field(default_factory=dict)
    ending: Ending | None = None
    trace: TraceContext | None = None
    received: float | None = None
    admitted: float | None = None
    times: StageTimes | None = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """That its answer has, whatever it is."""
        own = [(b"x-request-id", self.request_id.encode())]
        if self.trace is not None and self.trace.recorded:
            own.append((b"traceresponse", self.trace.traceresponse()))
        return own

    @property
    def sampled_trace_id(self) -> str | None:
        """Of a trace that somebody keeps: an exemplar may point to it."""
        return self.trace.trace_id if self.trace is not None and self.trace.sampled else None

    @property
    def trace_id(self) -> str | None:
        """Of the trace that it belongs to, recorded or not."""
        return self.trace.trace_id if self.trace is not None else None
