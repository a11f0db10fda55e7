"""When an answer is due."""

import re
from collections.abc import Iterable

from .errors import InvalidRequestError, Violation

TIMEOUT_HEADERS = (b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms")

MAX_HEADER_TIMEOUT_MS = 10**15 - 1
"""More digits than this are a mistake, and would take long to read."""

WHOLE_MILLISECONDS = re.compile(rb"0*[1-9][0-9]{0,14}")


def header_timeouts_ms(headers: Iterable[tuple[bytes, bytes]]) -> list[int]:
    """The timeouts that the headers ask for, in milliseconds.

    Raises:
        InvalidRequestError: a timeout header that is not a whole number of milliseconds from 1. Ignoring it would
            leave the caller waiting for longer than it said it can.
    """
    timeouts: list[int] = []
    for name, value in headers:
        if name in TIMEOUT_HEADERS:
            if not WHOLE_MILLISECONDS.fullmatch(value):
                violation = Violation("expected a whole number of milliseconds, at least 1", header=name.decode())
                raise InvalidRequestError([violation])
            timeouts.append(int(value))
    return timeouts


def deadline_at(arrival: float, *timeouts_ms: float) -> float:
    """The earliest of the timeouts, counted from the arrival, on its clock in seconds."""
    return arrival + min(timeouts_ms) / 1000
