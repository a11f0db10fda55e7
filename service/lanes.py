"""The threads that do the work: each takes a unit, runs it to its end, and takes the next."""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence

from .errors import ClientGoneError, DeadlineExceededError, DrainingError, ModelFailedError
from .job import Job
from .metrics import Metrics
from .work_queue import Unit, WorkQueue

log = logging.getLogger(__name__)

STALL_S = 4.0
"""A lane this long on one unit is taken for stuck: no micro-batch comes near it."""


class Lanes:
    """A fixed number of threads over one work queue.

    A lane outlives whatever its work raises: SystemExit and the like too, which would end a thread without a word, and
    leave its requests to their deadlines. A lane that cannot even take work ends, and is no longer alive.

    Args:
        count: how many.
        clock: monotonic, in seconds.
        metrics: told of every dropped unit.
        drained: told, by any lane, of the lane-seconds that its work was predicted to take, and that it took from when
            the lane could take it.
        name: of the threads.
        begin: called in each thread before its first unit, with the thread's number.
    """

    def __init__(
        self,
        count: int,
        clock: Callable[[], float],
        metrics: Metrics,
        drained: Callable[[float, float], None],
        name: str = "lane",
        begin: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._drained = drained
        self._begin = begin
        self._queue = WorkQueue()
        self._changed = threading.Condition()
        self._closed = False
        self._busy_since: list[float | None] = [None] * count
        # Each written by its own lane.
        self._worked_s = [0.0] * count
        self._threads = [
            threading.Thread(target=self._work, args=(i,), name=f"{name}-{i}", daemon=True) for i in range(count)
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

    @property
    def busy(self) -> int:
        """Lanes that are at work."""
        return sum(since is not None for since in self._busy_since)

    @property
    def worked_s(self) -> float:
        """Seconds of all lanes in units that they are done with."""
        return sum(self._worked_s)

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Lets each lane finish its unit, ends the jobs that wait, and waits for the threads, so long for all."""
        with self._changed:
            self._closed = True
            self._end_waiting()
            self._changed.notify_all()
        until = self._clock() + timeout_s
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, until - self._clock()))

    def add(self, units: Iterable[Unit]) -> None:
        """Hands units to the lanes."""
        with self._changed:
            before = len(self._queue)
            self._queue.add(units)
            if self._closed:
                self._end_waiting()
            self._changed.notify(max(1, len(self._queue) - before))

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

    def run_next(self) -> bool:
        """Runs the next unit, and what follows from it, in the calling thread; false where none waits.

        For simulations, which have no threads.
        """
        units, _ = self._take(wait=False)
        self._run_on(units, self._clock())
        return bool(units)

    def _work(self, lane: int) -> None:
        self._begin(lane)
        free_at = self._clock()
        while True:
            units, waited = self._take(wait=True)
            if not units:
                return
            try:
                self._run_on(units, self._clock() if waited else free_at, lane)
            except BaseException as error:
                self._metrics.lane_failures.inc()
                log.exception("a lane's work broke off, the lane goes on")
                for unit in units:
                    unit.job.end(_failure(error))
            self._busy_since[lane] = None
            free_at = self._clock()
            # A lane that waits must not keep the last request alive.
            del units

    def _run_on(self, units: Sequence[Unit], free_at: float, lane: int | None = None) -> None:
        """Runs units and what follows from them."""
        while units:
            begun = self._clock()
            if lane is not None:
                self._busy_since[lane] = begun
            following = self._run(units, free_at)
            free_at = self._clock()
            if lane is not None:
                self._worked_s[lane] += free_at - begun
            units = [following] if following is not None else []

    def _run(self, units: Sequence[Unit], free_at: float) -> Unit | None:
        """Runs units together; where that fails, each alone, so that one request's fault is not its neighbours'."""
        following = None
        try:
            following = units[0].run(units)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._metrics.lane_failures.inc()
            if len(units) > 1:
                log.warning("a joint micro-batch failed; each request's share runs alone", exc_info=True)
                for unit in units:
                    self._run([unit], self._clock())
                return None
            log.exception("a unit of work failed", extra={"fields": units[0].job.ids()})
            units[0].job.end(_failure(error))
        now = self._clock()
        for unit in units:
            unit.job.spend(unit.cost_s)
        self._drained(sum(unit.cost_s for unit in units), now - free_at)
        if following is not None and following.job.is_dead(now):
            # Dropped, and counted, like all that waits.
            self.add([following])
            return None
        return following

    def _take(self, *, wait: bool) -> tuple[Sequence[Unit], bool]:
        """The next unit with those that join it, none where there is none, and whether it had to be waited for."""
        waited = False
        with self._changed:
            while not self._closed:
                now = self._clock()
                for job, units in self._queue.drop_dead(now):
                    job.end(DeadlineExceededError("the deadline passed"))
                    self._metrics.dropped_units.labels(_drop_reason(job)).inc(units)
                hold_s = self._queue.hold_until(now) - now
                # What comes of other work may be what the first waits for.
                held = hold_s > 0 and wait
                unit = self._queue.pop_unheld(now) if held else self._queue.pop()
                if held and unit is None:
                    waited = True
                    self._changed.wait(hold_s)
                    continue
                if unit is not None:
                    return self._queue.pop_joining(unit), waited
                if not wait:
                    break
                waited = True
                self._changed.wait()
        return (), waited


def _failure(cause: BaseException) -> ModelFailedError:
    failure = ModelFailedError()
    failure.__cause__ = cause
    return failure


def _drop_reason(job: Job) -> str:
    match job.error:
        case DeadlineExceededError():
            return "expired"
        case ClientGoneError():
            return "abandoned"
        case _:
            return "failed"
