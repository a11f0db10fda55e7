"""W3C Trace Context: what a caller says of the trace that its request belongs to, and what an answer says back.

Sources: W3C Recommendation "Trace Context" (traceparent, tracestate); editor's draft "Trace Context HTTP Response
Headers" (traceresponse).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
MAX_TRACEPARENT_BYTES = 256
MAX_TRACESTATE_BYTES = 512
"""As much as everybody has to pass on; a longer one is left out whole, which the standard allows."""

SAMPLED = 0x01
NO_TRACE, NO_SPAN = "0" * 32, "0" * 16


@dataclass(slots=True)
class TraceContext:
    """The trace that a request belongs to.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits.
        parent_id: the caller's span, 16 such digits; None where the trace begins here.
        sampled: whether the trace is recorded, as the caller decided, or this service for a trace that begins here.
        state: the caller's `tracestate`, as it came.
        span_id: of the request's span here; empty unless it is recorded.
    """

    trace_id: str
    parent_id: str | None
    sampled: bool
    state: bytes = b""
    span_id: str = ""

    @property
    def recorded(self) -> bool:
        """Whether spans of the request are exported."""
        return bool(self.span_id)

    def traceresponse(self) -> bytes:
        """The value of the header by which a caller finds this service's span."""
        return f"00-{self.trace_id}-{self.span_id}-{SAMPLED:02x}".encode()


def read_trace_context(headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    """What the headers say, names in lower case; None where they say nothing, or nothing that can be relied on.

    A `tracestate` without a sound `traceparent` counts for nothing, and so does a `traceparent` that comes twice.
    """
    parent = None
    for name, value in headers:
        if name == b"traceparent":
            if parent is not None:
                return None
            parent = value
    return None if parent is None else _parse(parent, headers)


def _parse(parent: bytes, headers: Iterable[tuple[bytes, bytes]]) -> TraceContext | None:
    found = TRACEPARENT.fullmatch(parent.strip(b" \t")) if len(parent) <= MAX_TRACEPARENT_BYTES else None
    if found is None:
        return None
    version, trace_id, parent_id, flags, more = found.groups()
    # Later versions may add fields, and keep these.
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    context = TraceContext(trace_id.decode(), parent_id.decode(), bool(int(flags, 16) & SAMPLED))
    if context.trace_id == NO_TRACE or context.parent_id == NO_SPAN:
        return None
    state = b",".join(value for name, value in headers if name == b"tracestate")
    if len(state) <= MAX_TRACESTATE_BYTES:
        context.state = state
    return context
