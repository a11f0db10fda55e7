"""What is known of one HTTP request from its arrival on: kept in the ASGI scope, and its id in the log's context."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from .outcomes import Ending

SCOPE_KEY = "shelfscore"
ARRIVAL_KEY = "shelfscore.arrival"
"""Where the connection leaves the time at which a request's head was whole."""

WHOLE_BODY_KEY = "shelfscore.whole_body"
"""Where it leaves a function that says whether the body has arrived, so that nothing has to be timed."""

current_request_id: ContextVar[str | None] = ContextVar("current_request_id", default=None)


@dataclass(slots=True)
class RequestInfo:
    """Arrival (monotonic, in seconds), id, and what the access log adds for this route.

    Attributes:
        ending: of a POST /score that is answered.
    """

    arrival: float
    request_id: str
    log_fields: dict[str, Any] = field(default_factory=dict)
    ending: Ending | None = None
