"""Which unit of work a lane takes next. Pure data: no threads, no clock of its own."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .job import Job


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest piece of work: once begun it runs to its end on one lane."""

    job: Job
    run: Callable[[], None]


class WorkQueue:
    """Units of work waiting for a lane, by job.

    The job with the earliest deadline goes first, but never with two units in a row while a job with fewer unscored
    products waits. So a large request holds a small one back by one unit at most, whatever their deadlines, and still
    gets every second unit. Units of one job keep their order. Dead jobs lose their units before they run.
    """

    def __init__(self) -> None:
        self._waiting: dict[Job, deque[Unit]] = {}
        self._last: Job | None = None

    def __len__(self) -> int:
        """Units waiting."""
        return sum(map(len, self._waiting.values()))

    def add(self, units: Iterable[Unit]) -> None:
        """Appends units to those of their job."""
        for unit in units:
            self._waiting.setdefault(unit.job, deque()).append(unit)

    def drop_dead(self, now: float) -> list[tuple[Job, int]]:
        """Removes the jobs that are dead, and returns them with the number of units each had waiting."""
        dead = [(job, len(units)) for job, units in self._waiting.items() if job.is_dead(now)]
        for job, _ in dead:
            del self._waiting[job]
        return dead

    def pop(self) -> Unit | None:
        """Takes the next unit; None when none waits."""
        if not self._waiting:
            return None
        job = self._choose()
        units = self._waiting[job]
        unit = units.popleft()
        if not units:
            del self._waiting[job]
        self._last = job
        return unit

    def _choose(self) -> Job:
        # A few hundred jobs at most wait: a scan costs microseconds, a micro-batch milliseconds.
        earliest = min(self._waiting, key=lambda job: job.deadline)
        if earliest is not self._last:
            return earliest
        smallest = min(self._waiting, key=lambda job: (job.unscored, job.deadline))
        return smallest if smallest.unscored < earliest.unscored else earliest
