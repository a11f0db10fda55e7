"""All connections of one server: how many there may be, and for how long each may keep it waiting.

Nothing here costs anything per byte: a connection enters a queue when it begins to wait and leaves it when it stops,
and of a queue only the head is looked at.
"""

import asyncio
import logging
import resource
from collections.abc import Callable
from typing import Protocol

from .errors import TooManyConnectionsError
from .metrics import Metrics
from .outcomes import ending_of
from .settings import Settings

log = logging.getLogger(__name__)

RESERVE = 32
"""Connections above the limit that are kept until it is known whether they bring a probe."""

LINGER_S = 1.0
"""How long a refused caller may take to read why, before its connection is reset."""

PROBES = ("/health/", "/metrics")
OTHER_FILES = 64
"""File descriptors that are no connections."""


class Connection(Protocol):
    """What this module asks of a connection."""

    def refuse_for_room(self) -> None:
        """Ends one above the limit."""

    def end_reading(self) -> None:
        """Ends one whose head, or rest of a body that nobody reads, did not come in time."""

    def end_idle(self) -> None:
        """Ends one that has been idle for too long."""

    def end_writing(self) -> None:
        """Ends one that does not take what was written to it."""

    def abort(self) -> None:
        """Ends one at once."""


class Waiting:
    """Connections of which something is due within the same time, the one that is due first at the head.

    Args:
        timeout_s: how long each may wait.
        now: the event loop's clock, in seconds.
        on_late: told of each that waited for longer.
    """

    def __init__(self, timeout_s: float, now: Callable[[], float], on_late: Callable[[Connection], None]) -> None:
        self._timeout_s = timeout_s
        self._now = now
        self._on_late = on_late
        self._due: dict[Connection, float] = {}

    def add(self, connection: Connection) -> None:
        """It begins to wait; one that waits already goes on."""
        if connection not in self._due:
            self._due[connection] = self._now() + self._timeout_s

    def discard(self, connection: Connection) -> None:
        """It waits no longer, if it did."""
        self._due.pop(connection, None)

    def end_late(self) -> None:
        """Takes out those that are due, and tells of each."""
        now = self._now()
        while self._due:
            connection, due = next(iter(self._due.items()))
            if due > now:
                return
            del self._due[connection]
            self._on_late(connection)


class Connections:
    """Counts connections and ends those that wait for too long. Used on the event loop alone.

    Above `max_connections` a connection is kept only if its first request is a probe, and only for that one. Until the
    request is there it is one of a few, and the oldest of these makes room for the newest: a probe that is sent as soon
    as it has connected gets in however many connections there are.

    Attributes:
        heads: those that have to send a whole head, or the rest of a body that nobody reads.
        idle: those between two requests.
        writes: those that have to take what was written to them.
        lingering: those that were refused and may read why.
    """

    def __init__(self, settings: Settings, metrics: Metrics, now: Callable[[], float] | None = None) -> None:
        self._max_connections = settings.max_connections
        self._metrics = metrics
        self._open: set[Connection] = set()
        self._above: dict[Connection, None] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        clock = now or (lambda: asyncio.get_running_loop().time())
        head_s, write_s = settings.head_timeout_ms / 1000, settings.write_timeout_ms / 1000
        self.heads = Waiting(head_s, clock, lambda each: each.end_reading())
        self.idle = Waiting(settings.keep_alive_s, clock, lambda each: each.end_idle())
        self.writes = Waiting(write_s, clock, lambda each: each.end_writing())
        self.lingering = Waiting(LINGER_S, clock, lambda each: each.abort())
        self._queues = (self.heads, self.idle, self.writes, self.lingering)
        self._sweep_s = max(0.005, min(0.5, head_s / 4, write_s / 4))
        metrics.watch("connections", "Open connections.", lambda: len(self._open))

    def opened(self, connection: Connection) -> None:
        """A connection was accepted. Whether it may stay is known once it has sent a head: see `is_above`."""
        self._open.add(connection)
        self.heads.add(connection)
        if len(self._open) > self._max_connections:
            self._above[connection] = None
            if len(self._above) > RESERVE:
                oldest = next(iter(self._above))
                del self._above[oldest]
                oldest.refuse_for_room()
        if self._sweeping is None:
            self._sweep()

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._open.discard(connection)
        self._above.pop(connection, None)
        for queue in self._queues:
            queue.discard(connection)

    def is_above(self, connection: Connection) -> bool:
        """Whether it is there on sufferance. One that is may become one like any other where others have gone."""
        if connection in self._above and len(self._open) <= self._max_connections:
            del self._above[connection]
        return connection in self._above

    def refused(self, reason: str) -> None:
        """Counts a connection that was ended before its request, or in the middle of it."""
        self._metrics.refused_connections.labels(reason).inc()

    def refused_score(self) -> None:
        """Counts a POST /score that found too many connections: no application sees it."""
        self._metrics.score_ended(ending_of(TooManyConnectionsError()), 0.0)

    def _sweep(self) -> None:
        # First, for whatever goes wrong with one connection must not keep the others.
        self._sweeping = asyncio.get_running_loop().call_later(self._sweep_s, self._sweep) if self._open else None
        for queue in self._queues:
            queue.end_late()


def is_probe(method: str, path: str) -> bool:
    """Whether a request is one that must be answered however many connections there are."""
    return method == "GET" and path.startswith(PROBES)


def make_room_for_files(max_connections: int) -> None:
    """Raises the process's own limit of open files, if it would not let so many connections in. Warns if it may not."""
    wanted = max_connections + RESERVE + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
        if allowed < wanted:
            fields = {"max_connections": max_connections, "open_files": allowed}
            log.warning("the limit of open files is below that of connections", extra={"fields": fields})
