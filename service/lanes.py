"""The threads that do the work: each takes a unit, runs it to its end, and takes the next."""

import logging
import threading
from collections.abc import Callable, Iterable

from .errors import ClientGoneError, DeadlineExceededError, DrainingError, InternalError
from .job import Job
from .metrics import Metrics
from .work_queue import Unit, WorkQueue

log = logging.getLogger(__name__)

STALL_S = 30.0
"""A lane this long on one unit is taken for stuck: no micro-batch comes near it."""


class Lanes:
    """A fixed number of threads over one work queue.

    Args:
        count: how many.
        clock: monotonic, in seconds.
        metrics: told of every dropped unit.
    """

    def __init__(self, count: int, clock: Callable[[], float], metrics: Metrics) -> None:
        self._clock = clock
        self._metrics = metrics
        self._queue = WorkQueue()
        self._changed = threading.Condition()
        self._closed = False
        self._busy_since: list[float | None] = [None] * count
        self._threads = [
            threading.Thread(target=self._work, args=(i,), name=f"lane-{i}", daemon=True) for i in range(count)
        ]

    @property
    def count(self) -> int:
        """Number of lanes."""
        return len(self._threads)

    @property
    def waiting(self) -> int:
        """Units that wait for a lane."""
        with self._changed:
            return len(self._queue)

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Lets each lane finish its unit, ends the jobs that wait, and waits for the threads."""
        with self._changed:
            self._closed = True
            self._end_waiting()
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout_s)

    def add(self, units: Iterable[Unit]) -> None:
        """Hands units to the lanes."""
        with self._changed:
            self._queue.add(units)
            if self._closed:
                self._end_waiting()
            self._changed.notify_all()

    def alive(self) -> int:
        """Lanes that make progress: their thread runs, and is not stuck in one unit."""
        now = self._clock()
        return sum(
            thread.is_alive() and (since is None or now - since < STALL_S)
            for thread, since in zip(self._threads, self._busy_since, strict=True)
        )

    def _end_waiting(self) -> None:
        while (unit := self._queue.pop()) is not None:
            unit.job.end(DrainingError("the service stopped before this request was scored"))

    def _work(self, lane: int) -> None:
        while (unit := self._take()) is not None:
            self._busy_since[lane] = self._clock()
            try:
                unit.run()
            except Exception as error:
                log.exception("a unit of work failed", extra={"fields": {"request_id": unit.job.request_id}})
                failure = InternalError("the model could not score this request")
                failure.__cause__ = error
                unit.job.end(failure)
            self._busy_since[lane] = None
            # A lane that waits must not keep the last request alive.
            del unit

    def _take(self) -> Unit | None:
        with self._changed:
            while not self._closed:
                for job, units in self._queue.drop_dead(self._clock()):
                    job.end(DeadlineExceededError("the deadline passed"))
                    self._metrics.dropped_units.labels(_drop_reason(job)).inc(units)
                unit = self._queue.pop()
                if unit is not None:
                    return unit
                self._changed.wait()
        return None


def _drop_reason(job: Job) -> str:
    match job.error:
        case DeadlineExceededError():
            return "expired"
        case ClientGoneError():
            return "abandoned"
        case _:
            return "failed"
