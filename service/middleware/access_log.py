"""Lines in the log for requests: a share of them, each that failed, and not thousands a second of those turned away."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any

from ..sampling import is_sampled

log = logging.getLogger("service.access")

SERVER_ERROR = 500
SHED_STATUS = 503
SHED_PERIOD_S = 1.0


class AccessLog:
    """A request that the service failed has a line, at the level WARNING; of others a share.

    Of requests answered 503 the first gets a line; then, each second, there is one with the number of the others.

    Args:
        clock: monotonic, in seconds.
        later: has a function called after some seconds.
        rate: share of the requests without an error that have a line; their ids decide.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object] | None = None,
        rate: float = 1.0,
    ) -> None:
        self._clock = clock
        self._later = later or _call_later
        self._rate = rate
        self._counted_until = clock()
        self._left_out = 0

    def wants(self, status: int | None, request_id: str) -> bool:
        """Whether a request is to be written: asked first, so that no line is made in vain. None: cut off."""
        if status is None or (status >= SERVER_ERROR and status != SHED_STATUS):
            return log.isEnabledFor(logging.WARNING)
        if not log.isEnabledFor(logging.INFO):
            return False
        return status == SHED_STATUS or self._rate >= 1 or is_sampled(request_id, self._rate)

    def write(self, status: int | None, fields: dict[str, Any]) -> None:
        """Logs one request, now or as one of several."""
        if status == SHED_STATUS:
            left_s = self._counted_until - self._clock()
            if left_s > 0:
                if not self._left_out:
                    self._later(left_s, self._count)
                self._left_out += 1
                return
            self._counted_until = self._clock() + SHED_PERIOD_S
            _write(logging.INFO, "request", fields)
        else:
            failed = status is None or status >= SERVER_ERROR
            _write(logging.WARNING if failed else logging.INFO, "request", fields)

    def _count(self) -> None:
        _write(logging.INFO, "requests shed", {"status": SHED_STATUS, "requests": self._left_out})
        self._left_out = 0
        self._counted_until = self._clock() + SHED_PERIOD_S


def _write(level: int, message: str, fields: dict[str, Any]) -> None:
    # Logger.log would look for the caller's file and line, which no format shows.
    log.handle(log.makeRecord(log.name, level, __file__, 0, message, (), None, extra={"fields": fields}))


def _call_later(delay_s: float, function: Callable[[], None]) -> None:
    # Without this request's context, for its id would be on the line.
    asyncio.get_running_loop().call_later(delay_s, function, context=Context())
