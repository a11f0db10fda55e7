"""Outermost: gives each request its id, times it, logs it, and turns every exception into a problem."""

import logging
import os
import re
from collections.abc import Callable, Collection

from prometheus_client import Counter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..answer import NO_SNIFFING
from ..context import ARRIVAL_KEY, SCOPE_KEY, RequestInfo, current_request_id, current_trace_id
from ..errors import ClientGoneError, InternalError, ServiceError, status_and_title
from ..metrics import Metrics
from ..outcomes import INTERNAL, ending_of
from ..problem import problem_answer
from ..tracing.tracing import Tracing
from ..tracing.w3c import read_trace_context
from .access_log import AccessLog

log = logging.getLogger(__name__)

SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
UNKNOWN_ROUTE = "other"
SCORE_PATH = "/score"


class RequestMiddleware:
    """Echoes a sane `x-request-id`, or makes one.

    Args:
        app: what it wraps.
        metrics: told of every request.
        clock: monotonic, in seconds; its reading here is the request's arrival, where the connection did not tell it.
        access_log: told of every request.
        routes: paths that label metrics; any other path is labelled `other`.
        tracing: told of every scoring request; None where no spans are made.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        clock: Callable[[], float],
        access_log: AccessLog,
        routes: Collection[str],
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._clock = clock
        self._routes = frozenset(routes)
        self._access_log = access_log
        self._tracing = tracing
        self._counters: dict[tuple[str, int | None], Counter] = {}
        self._durations = {route: metrics.duration.labels(route) for route in (*routes, UNKNOWN_ROUTE)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        info = scope.get(SCOPE_KEY) or self.info_of(scope)
        scope[SCOPE_KEY] = info
        current_request_id.set(info.request_id)
        # Always, for a request behind another on its connection begins with the context of that one.
        current_trace_id.set(info.trace_id)
        own = [*info.headers, NO_SNIFFING]
        status: int | None = None
        failure: ServiceError | None = None

        counts = scope["path"] == SCORE_PATH and scope["method"] == "POST"

        def count_score() -> None:
            nonlocal counts
            if counts:
                counts = False
                self._count_score(info, failure)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # Before the caller can read its answer, so that what it counts itself is never more.
                count_score()
                message = {**message, "headers": [*message["headers"], *own]}
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send_with_id)
        except Exception as error:
            failure = error if isinstance(error, ServiceError) else InternalError("the service failed on this request")
            if isinstance(failure, InternalError):
                log.exception("request failed")
            if status is not None:
                raise
            if isinstance(failure, ClientGoneError):
                status, _ = status_and_title(failure)
            else:
                await problem_answer(failure, info.request_id).send(send_with_id)
        finally:
            self._metrics.in_flight.dec()
            # A caller that has left gets no answer.
            count_score()
            self._record(scope, info, status, failure)

    def info_of(self, scope: Scope) -> RequestInfo:
        """What is known of a request from its head."""
        info = RequestInfo(scope.get(ARRIVAL_KEY) or self._clock(), _request_id(scope))
        info.trace = read_trace_context(scope["headers"])
        if self._tracing is not None and scope["path"] == SCORE_PATH and scope["method"] == "POST":
            info.trace = self._tracing.begin(info.trace)
        return info

    def refused(self, scope: Scope, info: RequestInfo, error: ServiceError) -> None:
        """Counts and logs a scoring request that was answered before it came here."""
        request_id, trace_id = current_request_id.set(info.request_id), current_trace_id.set(info.trace_id)
        self._count_score(info, error)
        self._record(scope, info, status_and_title(error)[0], error)
        current_request_id.reset(request_id)
        current_trace_id.reset(trace_id)

    def _count_score(self, info: RequestInfo, failure: ServiceError | None) -> None:
        # Without either, its task was cancelled.
        ending = ending_of(failure) if failure is not None else info.ending or INTERNAL
        self._metrics.score_ended(ending, self._clock() - info.arrival, info.sampled_trace_id)

    def _record(self, scope: Scope, info: RequestInfo, status: int | None, failure: ServiceError | None) -> None:
        ended = self._clock()
        duration_s = ended - info.arrival
        path = scope["path"]
        route = path if path in self._routes else UNKNOWN_ROUTE
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._metrics.requests.labels(route, str(status))
        counter.inc()
        self._durations[route].observe(duration_s)
        if self._tracing is not None:
            self._tracing.end(info, status, ended, type(failure).__name__ if failure is not None else None)
        if self._access_log.wants(status, info.request_id):
            fields = {
                "method": scope["method"],
                "path": path[:200],
                "status": status,
                "duration_ms": round(duration_s * 1000, 2),
                **info.log_fields,
            }
            self._access_log.write(status, fields)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_ID.fullmatch(value):
            return str(value, "ascii")
    return os.urandom(16).hex()
