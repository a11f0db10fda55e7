"""Which unit of work a lane takes next: of the job that is due first. Pure data: no threads, no clock.

When a job is due, admission has said. That is a fixed time, no later than its deadline, and whoever comes later is due
after its own arrival: nobody waits for ever.
"""

import heapq
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter
from typing import Protocol

from .job import Job


class Joint(Protocol):
    """Units that are to run together, gathered one after another."""

    @property
    def full(self) -> bool:
        """Whether waiting for more to join would gain nothing."""
        ...

    def add(self, other: "Unit") -> bool:
        """Takes one more unit, or says that it should not run with them. Its cost does not grow with their number."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """The smallest piece of work: once begun it runs to its end on one lane.

    Attributes:
        job: whose it is.
        run: does it, together with the units that joined it, itself first. What it returns, the lane runs next.
        cost_s: lane-seconds that it is predicted to take.
        rank: units of one job run in this order.
        joint: begins a joint with this unit; None for units that run alone.
        hold_until: a lane may wait until then, on the monotonic clock, for units to join; it need not.
    """

    job: Job
    run: Callable[[Sequence["Unit"]], "Unit | None"]
    cost_s: float = 0.0
    rank: int = 0
    joint: Callable[["Unit"], Joint] | None = None
    hold_until: float = -math.inf


@dataclass(slots=True)
class _Waiting:
    """A job's units, by rank and then in the order in which they came."""

    job: Job
    order: tuple[bool, float, int]
    units: list[tuple[int, int, Unit]] = field(default_factory=list)

    @property
    def next(self) -> Unit:
        return self.units[0][2]


class WorkQueue:
    """Units of work waiting for a lane, by job.

    The job that is due first goes first. Background jobs run while no other waits. Dead jobs lose their units before
    they run. Taking a unit costs the logarithm of the number of jobs: thousands of tiny ones may wait.
    """

    def __init__(self) -> None:
        self._serial = count()
        self._waiting: dict[Job, _Waiting] = {}
        self._heap: list[tuple[tuple[bool, float, int], _Waiting]] = []
        self._length = 0
        self._looks = 0

    def __len__(self) -> int:
        """Units waiting, those of background jobs aside."""
        return self._length

    def add(self, units: Iterable[Unit]) -> None:
        """Adds units to those of their job."""
        for unit in units:
            job = unit.job
            entry = self._waiting.get(job)
            if entry is None:
                entry = self._waiting[job] = _Waiting(job, (job.background, job.due, next(self._serial)))
                heapq.heappush(self._heap, (entry.order, entry))
            heapq.heappush(entry.units, (unit.rank, next(self._serial), unit))
            self._length += not job.background

    def drop_dead(self, now: float) -> list[tuple[Job, int]]:
        """Removes dead jobs, and returns them with the number of units each had waiting.

        The first job that stays is alive. Those behind it are all looked at once in as many calls as jobs wait.
        """
        dead: list[_Waiting] = []
        self._looks += 1
        if self._looks > len(self._waiting):
            self._looks = 0
            dead = [entry for job, entry in self._waiting.items() if job.is_dead(now)]
            for entry in dead:
                self._remove(entry)
        while (first := self._first()) is not None and first.job.is_dead(now):
            dead.append(first)
            self._remove(first)
        dropped = [(entry.job, len(entry.units)) for entry in dead]
        for entry in dead:
            # The heap may keep the entry for a while, and its units what they were to work on.
            entry.units.clear()
        return dropped

    def hold_until(self, now: float) -> float:
        """Until when a lane should wait for more units to join the next one, on the same clock; `now` or less: not."""
        first = self._first()
        if first is None or first.next.joint is None or first.next.hold_until <= now:
            return now
        joint, until = first.next.joint(first.next), first.next.hold_until
        for entry in self._joining():
            for _, _, unit in entry.units[1:] if entry is first else entry.units:
                if joint.full:
                    return now
                if joint.add(unit):
                    until = min(until, unit.hold_until)
        return now if joint.full else until

    def pop(self) -> Unit | None:
        """Takes the next unit; None when none waits."""
        first = self._first()
        return self._take(first) if first is not None else None

    def pop_unheld(self, now: float) -> Unit | None:
        """Takes the first unit that need not wait for others, of any job; None when there is none."""
        ready = (each for each in self._waiting.values() if each.next.hold_until <= now)
        first = min(ready, key=_ORDER, default=None)
        return self._take(first) if first is not None else None

    def pop_joining(self, unit: Unit) -> list[Unit]:
        """The unit just taken, and those of any job, the first due first, that are to run together with it."""
        joined = [unit]
        if unit.joint is not None:
            joint = unit.joint(unit)
            for entry in self._joining():
                while entry.units and joint.add(entry.next):
                    joined.append(self._take(entry))
        return joined

    def _first(self) -> _Waiting | None:
        while self._heap:
            _, entry = self._heap[0]
            if self._waiting.get(entry.job) is entry:
                return entry
            heapq.heappop(self._heap)
        return None

    def _joining(self) -> list[_Waiting]:
        """The jobs whose next unit may run with others, the first due first."""
        able = [each for each in self._waiting.values() if each.next.joint is not None and not each.job.ended]
        return sorted(able, key=_ORDER)

    def _take(self, entry: _Waiting) -> Unit:
        _, _, unit = heapq.heappop(entry.units)
        self._length -= not entry.job.background
        if not entry.units:
            self._remove(entry)
        return unit

    def _remove(self, entry: _Waiting) -> None:
        del self._waiting[entry.job]
        self._length -= 0 if entry.job.background else len(entry.units)
        if not self._waiting:
            # What was taken out of turn would keep its job, and the job its model.
            self._heap.clear()


_ORDER = attrgetter("order")
