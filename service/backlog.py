"""The requests that were admitted and have not ended, over all models."""

import math
import threading
from bisect import insort
from collections.abc import Callable
from itertools import count

from .admission import Admission
from .job import Job


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

    def check(self, job: Job, now: float) -> None:
        """Returns for a job that may enter, and leaves it outside.

        Raises:
            OverloadedError: it may not enter.
        """
        with self._lock:
            self._admission.admit(job, now, [each for _, _, each in self._jobs])

    def leave(self, job: Job, now: float) -> None:
        """It has ended."""
        with self._lock:
            kept = [each for each in self._jobs if each[2] is not job]
            found = len(kept) < len(self._jobs)
            self._jobs = kept
        if found:
            self._left(job, now)
