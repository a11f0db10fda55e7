"""The requests that were admitted and have not ended, over all models: what is in work, and how fast it drains."""

import math
import threading
from bisect import insort
from collections.abc import Callable
from itertools import count

from .admission import Admission
from .job import Job

DRAIN_WINDOW_S = 1.0
"""Seconds after which work done has lost two thirds of its weight in the drain rate."""


class DrainRate:
    """Lane-seconds of predicted work that the lanes get done per second, of late. A lost update does no harm.

    Args:
        rate: until something has been measured: the number of lanes, if predictions are right.
        now: on the clock of `drained`.
    """

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._least = rate / 10
        self._at = now

    @property
    def per_s(self) -> float:
        """At least a tenth of what it began with: it divides, and idle lanes drain nothing."""
        return max(self._rate, self._least)

    def drained(self, seconds: float, now: float) -> None:
        """So many lane-seconds of work have ended."""
        faded = math.exp(-max(0.0, now - self._at) / DRAIN_WINDOW_S)
        self._rate = self._rate * faded + seconds / DRAIN_WINDOW_S
        self._at = now


class Backlog:
    """Safe to use from several threads.

    Args:
        admission: who may enter.
        left: told, under no lock, of each job that has left, and when.
    """

    def __init__(self, admission: Admission, left: Callable[[Job, float], None]) -> None:
        self._admission = admission
        self._left = left
        self._lock = threading.Lock()
        self._serial = count()
        self._jobs: list[tuple[float, int, Job]] = []

    def __len__(self) -> int:
        """Requests."""
        return len(self._jobs)

    @property
    def products(self) -> int:
        """Products not yet scored."""
        with self._lock:
            return sum(job.unscored for _, _, job in self._jobs)

    @property
    def seconds(self) -> float:
        """Lane-seconds of work left, as predicted."""
        with self._lock:
            return math.fsum(job.remaining_s for _, _, job in self._jobs)

    def enter(self, job: Job, now: float) -> None:
        """Admits a job.

        Raises:
            OverloadedError: it may not enter.
        """
        with self._lock:
            self._admission.admit(job, now, [each for _, _, each in self._jobs])
            insort(self._jobs, (job.due, next(self._serial), job))

    def leave(self, job: Job, now: float) -> None:
        """It has ended."""
        with self._lock:
            kept = [each for each in self._jobs if each[2] is not job]
            found = len(kept) < len(self._jobs)
            self._jobs = kept
        if found:
            self._left(job, now)
