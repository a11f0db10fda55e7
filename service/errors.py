"""Every way a request can fail, and the status that says so. Nothing else maps errors to statuses.

ServiceError
 +-- RequestError                    the caller can repair it
 |    +-- MalformedBodyError         400  not JSON, or not the compression it claims
 |    +-- UnauthorizedError          401  no key, or one that does not match
 |    +-- RouteNotFoundError         404
 |    +-- ModelNotFoundError         404
 |    +-- MethodNotAllowedError      405
 |    +-- LateHeadError              408  URL and headers took too long to come
 |    +-- BodyTooLargeError          413  before or after decompression
 |    +-- UnsupportedMediaError      415  content type or content encoding
 |    +-- InvalidRequestError        422  JSON or a header that breaks the contract
 |    +-- HeadTooLargeError          431  URL and headers
 |    +-- TooManyPipelinedError      429  on one connection; only metrics see it
 |    +-- ClientGoneError            499  nobody reads the answer; only logs and metrics see it
 +-- InternalError                   500  our fault
 |    +-- ModelFailedError                the model raised, or a lane's work around it
 +-- UnavailableError                503  carries Retry-After
 |    +-- NotReadyError                   loading, or failed to load
 |    +-- DrainingError                   stopping
 |    +-- TooManyConnectionsError         and this one brought no probe
 |    +-- OverloadedError
 |         +-- BacklogFullError           the queue has no room
 |         +-- PredictedLateError         it would not be done before its deadline, or make others late
 +-- DeadlineExceededError           504
      +-- LateBodyError                   the body had not come by then
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: where (`pointer` is a JSON pointer, `header` a header's name) and what was expected."""

    expected: str
    pointer: str | None = None
    header: str | None = None

    def as_dict(self) -> dict[str, str]:
        """For the problem's `errors` member."""
        where = {"pointer": self.pointer} if self.pointer is not None else {"header": self.header or ""}
        return {**where, "expected": self.expected}


class ServiceError(Exception):
    """A request that gets no scores. `detail` is written for the caller; `headers` go out with the answer."""

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}

    @property
    def violations(self) -> Sequence[Violation]:
        """The broken rules, one by one, where there are such."""
        return ()


class RequestError(ServiceError):
    """The caller can repair it."""


class MalformedBodyError(RequestError):
    """The body is not what its content type and encoding say."""


class UnauthorizedError(RequestError):
    """A key is configured and the request does not carry it."""

    def __init__(self) -> None:
        detail = "expected the header 'Authorization: Bearer KEY' with a valid key"
        super().__init__(detail, headers={"www-authenticate": "Bearer"})


class RouteNotFoundError(RequestError):
    """No such route."""


class ModelNotFoundError(RequestError):
    """No such model."""


class MethodNotAllowedError(RequestError):
    """The route exists, the method does not."""


class BodyTooLargeError(RequestError):
    """The body, as sent or once decompressed, is over the limit."""

    def __init__(self, max_body_bytes: int) -> None:
        super().__init__(f"expected a body of at most {max_body_bytes} bytes, after decompression too")


class UnsupportedMediaError(RequestError):
    """Another content type or encoding."""


class InvalidRequestError(RequestError):
    """JSON or headers that break the contract. Never empty of violations."""

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        super().__init__(f"{first.pointer or first.header or 'the body'}: {first.expected}")
        self._violations = tuple(violations)

    @property
    def violations(self) -> Sequence[Violation]:
        return self._violations


class HeadTooLargeError(RequestError):
    """URL and headers are over the limit."""

    def __init__(self, max_head_bytes: int, max_headers: int) -> None:
        super().__init__(
            f"expected a URL and headers of at most {max_head_bytes} bytes together, and at most {max_headers} headers"
        )


class LateHeadError(RequestError):
    """URL and headers did not come in time."""

    def __init__(self) -> None:
        super().__init__("the URL and headers took too long to arrive")


class TooManyPipelinedError(RequestError):
    """More requests were sent ahead than may wait on one connection."""

    def __init__(self, max_pipelined: int) -> None:
        super().__init__(f"expected at most {max_pipelined} requests to wait on one connection")


class ClientGoneError(RequestError):
    """The caller closed the connection before its answer."""


class InternalError(ServiceError):
    """Our fault. What went wrong is in the log under the request id, never in the answer."""


class ModelFailedError(InternalError):
    """The model raised, or a lane's work around it."""

    def __init__(self) -> None:
        super().__init__("the model could not score this request")


class UnavailableError(ServiceError):
    """Cannot be done at present. `reason` labels the metric of scoring requests."""

    reason = "unavailable"

    def __init__(self, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(detail, headers={"retry-after": str(retry_after_s)})


class NotReadyError(UnavailableError):
    """The model is loading, or could not be loaded."""

    reason = "not_ready"


class DrainingError(UnavailableError):
    """The process is stopping."""

    reason = "draining"


class TooManyConnectionsError(UnavailableError):
    """There are as many connections as there may be."""

    reason = "connections"

    def __init__(self) -> None:
        super().__init__("there are too many connections")


class OverloadedError(UnavailableError):
    """Too much is in work."""

    reason = "overloaded"


class BacklogFullError(OverloadedError):
    """The queue has no room."""

    reason = "backlog_full"


class PredictedLateError(OverloadedError):
    """It would not be done before its deadline, or would make others late."""

    reason = "predicted_late"


class DeadlineExceededError(ServiceError):
    """The deadline passed while working, and a partial answer was not asked for."""


class LateBodyError(DeadlineExceededError):
    """The deadline passed before the whole body had come: the caller's doing."""


STATUSES: dict[type[ServiceError], tuple[int, str]] = {
    MalformedBodyError: (400, "Malformed body"),
    UnauthorizedError: (401, "Unauthorized"),
    RouteNotFoundError: (404, "Not found"),
    ModelNotFoundError: (404, "Model not found"),
    MethodNotAllowedError: (405, "Method not allowed"),
    LateHeadError: (408, "Request timeout"),
    BodyTooLargeError: (413, "Body too large"),
    UnsupportedMediaError: (415, "Unsupported media type"),
    InvalidRequestError: (422, "Invalid request"),
    TooManyPipelinedError: (429, "Too many requests"),
    HeadTooLargeError: (431, "Request header fields too large"),
    ClientGoneError: (499, "Client closed request"),
    InternalError: (500, "Internal error"),
    UnavailableError: (503, "Unavailable"),
    DeadlineExceededError: (504, "Deadline exceeded"),
}


def status_and_title(error: ServiceError) -> tuple[int, str]:
    """The status and the problem title of an error, by its nearest listed class."""
    return next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
