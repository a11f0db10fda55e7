"""What became of a POST /score, in two words for the metrics: outcome and reason. Both are few.

| outcome | reasons |
|---|---|
| scored | none |
| partial | deadline, not_finite: an answer in which a score is null |
| shed | not_ready, draining, connections, backlog_full, predicted_late |
| late | deadline; late_body: the body had not come by then |
| invalid | one for each way in which a request can be wrong |
| failed | model, internal |
| gone | client_gone |
"""

from typing import NamedTuple

from .errors import (
    BacklogFullError,
    BodyTooLargeError,
    ClientGoneError,
    DeadlineExceededError,
    DrainingError,
    InternalError,
    InvalidRequestError,
    LateBodyError,
    MalformedBodyError,
    ModelFailedError,
    ModelNotFoundError,
    NotReadyError,
    PredictedLateError,
    ServiceError,
    TooManyConnectionsError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedMediaError,
)


class Ending(NamedTuple):
    """Of one request."""

    outcome: str
    reason: str


SCORED = Ending("scored", "none")
DEADLINE_PASSED = Ending("partial", "deadline")
NOT_FINITE = Ending("partial", "not_finite")
INTERNAL = Ending("failed", "internal")

_SHED: tuple[type[UnavailableError], ...] = (
    *(NotReadyError, DrainingError, TooManyConnectionsError),
    *(BacklogFullError, PredictedLateError),
)
BY_ERROR: dict[type[ServiceError], Ending] = {
    **{kind: Ending("shed", kind.reason) for kind in _SHED},
    DeadlineExceededError: Ending("late", "deadline"),
    LateBodyError: Ending("late", "late_body"),
    MalformedBodyError: Ending("invalid", "not_json"),
    InvalidRequestError: Ending("invalid", "schema"),
    BodyTooLargeError: Ending("invalid", "too_large"),
    UnsupportedMediaError: Ending("invalid", "unsupported_media"),
    UnauthorizedError: Ending("invalid", "unauthorized"),
    ModelNotFoundError: Ending("invalid", "unknown_model"),
    ModelFailedError: Ending("failed", "model"),
    InternalError: INTERNAL,
    ClientGoneError: Ending("gone", "client_gone"),
}
ENDINGS = (SCORED, DEADLINE_PASSED, NOT_FINITE, *BY_ERROR.values())


def ending_of(error: ServiceError) -> Ending:
    """The ending that an error is, by its nearest listed class."""
    return next((BY_ERROR[kind] for kind in type(error).__mro__ if kind in BY_ERROR), INTERNAL)
