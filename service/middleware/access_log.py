"""A line in the log for each request, but not thousands a second for those that are turned away."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any

log = logging.getLogger("service.access")

SHED_STATUS = 503
SHED_PERIOD_S = 1.0


class AccessLog:
    """Of requests answered 503 the first gets a line; then, each second, there is one with the number of the others.

    Args:
        clock: monotonic, in seconds.
        later: has a function called after some seconds.
    """

    def __init__(
        self, clock: Callable[[], float], later: Callable[[float, Callable[[], None]], object] | None = None
    ) -> None:
        self._clock = clock
        self._later = later or _call_later
        self._counted_until = clock()
        self._left_out = 0

    def write(self, status: int | None, fields: dict[str, Any]) -> None:
        """Logs one request, now or as one of several."""
        if not log.isEnabledFor(logging.INFO):
            return
        if status == SHED_STATUS:
            left_s = self._counted_until - self._clock()
            if left_s > 0:
                if not self._left_out:
                    self._later(left_s, self._count)
                self._left_out += 1
                return
            self._counted_until = self._clock() + SHED_PERIOD_S
        _write("request", fields)

    def _count(self) -> None:
        _write("requests shed", {"status": SHED_STATUS, "requests": self._left_out})
        self._left_out = 0
        self._counted_until = self._clock() + SHED_PERIOD_S


def _write(message: str, fields: dict[str, Any]) -> None:
    # Logger.info would look for the caller's file and line, which no format shows.
    log.handle(log.makeRecord(log.name, logging.INFO, __file__, 0, message, (), None, extra={"fields": fields}))


def _call_later(delay_s: float, function: Callable[[], None]) -> None:
    # Without this request's context, for its id would be on the line.
    asyncio.get_running_loop().call_later(delay_s, function, context=Context())
