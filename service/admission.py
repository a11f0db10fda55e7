"""Decides at a request's arrival whether it may enter the queue, and when it is due there.

The queue works in the order in which requests are due. A request is due when STRETCH times the time has passed that its
size takes alone, or at its deadline if that is earlier: so one of a single product is due long before one of a
thousand that came earlier, and requests of like size are due almost in the order of their arrival. No step in what a
size counts for: the larger half of like requests that lie across it would wait for the smaller one. Where being due so
early would make others late, a request is due at its deadline.

A request enters if in this order it is predicted to be done by its deadline, and all that were admitted before it still
are by theirs. What is predicted is lane-seconds of work. Lanes run independent units, so x lane-seconds take x / lanes,
and the last unit runs on one lane alone.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .errors import BacklogFullError, PredictedLateError
from .job import Job

SMALL_SHARE = 1 / 3
"""What is smaller than a micro-batch may use up the headroom of those behind it, down to this part of it."""

STRETCH = 4.0
"""How many times the time that its size takes alone a request is to take, where there is room for all."""

LEAST_SIZE, MOST_SIZE = 0.5, 512.0
"""Micro-batches of work that smaller and larger requests are taken for."""


class Admission(Protocol):
    """An admission rule. Called on the event loop: it must not block."""

    def admit(self, job: Job, now: float, queued: Sequence[Job]) -> None:
        """Returns for a request that may enter, its `due` set; the caller then adds it to the queue.

        Args:
            job: the request. Its deadline has not passed.
            now: the monotonic clock, in seconds.
            queued: the requests that were admitted and have not ended, the first due first.

        Raises:
            OverloadedError: it may not, and when to try again.
        """
        ...


class RetryAfter:
    """When to come back, in whole seconds: when the backlog has drained, and a random time on top.

    Without the random part all callers refused in one moment would come back in one.

    Args:
        drain_rate: lane-seconds of predicted work that get done in a second.
        random_source: of the random part.
    """

    def __init__(self, drain_rate: Callable[[], float], random_source: random.Random) -> None:
        self._drain_rate = drain_rate
        self._random = random_source

    def seconds(self, excess_s: float) -> int:
        """For a request that would fit, were the backlog smaller by so many lane-seconds."""
        wait_s = excess_s / self._drain_rate()
        return max(1, math.ceil(wait_s + self._random.random() * max(1.0, wait_s)))


@dataclass(frozen=True, slots=True)
class BoundedBacklog:
    """Admits while the backlog stays within a bound, however far away the deadlines are.

    With nothing in work, every request is admitted.

    Attributes:
        limit_s: the bound in seconds of work for each lane.
        lanes: how many make progress.
        retry_after: when to come back.
    """

    limit_s: Callable[[], float]
    lanes: Callable[[], int]
    retry_after: RetryAfter

    def admit(self, job: Job, now: float, queued: Sequence[Job]) -> None:
        """See Admission."""
        bound_s = self.limit_s() * self.lanes()
        backlog_s = sum(each.remaining_s for each in queued if not each.is_dead(now))
        excess_s = backlog_s + job.first_s - bound_s
        if backlog_s and excess_s > 0:
            raise BacklogFullError(
                f"the backlog of {backlog_s / self.lanes() * 1000:.0f} ms has no room for "
                f"{job.first_s / self.lanes() * 1000:.0f} ms more",
                retry_after_s=self.retry_after.seconds(excess_s),
            )


@dataclass(frozen=True, slots=True)
class PredictedTime:
    """Admits a request if it will be done by its deadline, and makes no request late that was admitted before.

    With nothing in work, every request is admitted: an estimate that is too high heals by new work alone.

    Attributes:
        micro_batch_s: lane-seconds of a micro-batch, the longest kind that there is.
        lanes: how many make progress, times the pace at which they get predicted work done.
        answer_lag_s: seconds from a request's last score to its answer.
        headroom: by the time: a request enters if it would be on time even with its prediction this many times longer.
        retry_after: when to come back.
    """

    micro_batch_s: Callable[[], float]
    lanes: Callable[[], float]
    answer_lag_s: Callable[[], float]
    headroom: Callable[[float], float]
    retry_after: RetryAfter

    def admit(self, job: Job, now: float, queued: Sequence[Job]) -> None:
        """See Admission."""
        waiting = [each for each in queued if not each.is_dead(now)]
        lanes, headroom, tail_s = self.lanes(), self.headroom(now), self.micro_batch_s() + self.answer_lag_s()
        early = min(job.deadline, now + STRETCH * self._size_s(job) / lanes + tail_s)
        for due in dict.fromkeys((early, job.deadline)):
            schedule = _Schedule(now, lanes, tail_s)
            for each in waiting:
                if each.due <= due:
                    schedule.append(each)
            predicted_s = schedule.end_s(job.first_s)
            late_s = (predicted_s * headroom - (job.deadline - now)) * lanes
            margin = 1.0 + SMALL_SHARE * (headroom - 1.0) if job.remaining_s <= tail_s else headroom
            harmed_s = schedule.delay(job, [each for each in waiting if each.due > due], margin)
            if not waiting or max(late_s, harmed_s) <= 0:
                job.due, job.predicted_s, job.promised = due, predicted_s, late_s <= 0
                return
        if late_s > 0:
            raise PredictedLateError(
                f"predicted to be done in {predicted_s * 1000:.0f} ms, and due in {(job.deadline - now) * 1000:.0f} ms",
                retry_after_s=self.retry_after.seconds(late_s),
            )
        raise PredictedLateError(
            "it would make requests late that were admitted before", retry_after_s=self.retry_after.seconds(harmed_s)
        )

    def _size_s(self, job: Job) -> float:
        unit_s = self.micro_batch_s()
        micro_batches = job.remaining_s / unit_s if unit_s else 0.0
        return unit_s * min(MOST_SIZE, max(LEAST_SIZE, micro_batches))


class _Schedule:
    """When requests end that are worked on one after another.

    Args:
        now: the monotonic clock, in seconds.
        lanes: lane-seconds of predicted work that get done in a second.
        tail_s: seconds of the unit in work, which has to end first, and from the last one to the answer.
    """

    def __init__(self, now: float, lanes: float, tail_s: float) -> None:
        self._now = now
        self._lanes = lanes
        self._tail_s = tail_s
        self._lane_s = 0.0

    def end_s(self, lane_s: float) -> float:
        """Seconds from now until so many further lane-seconds are done."""
        return (self._lane_s + lane_s) / self._lanes + self._tail_s

    def append(self, job: Job) -> float:
        """Adds the next job, and returns the lane-seconds that it can spare; infinite where it cannot be made late."""
        left_s = job.deadline - self._now
        spare_s = (left_s - self.end_s(job.remaining_s)) * self._lanes
        # What is not done at its deadline is dropped there.
        self._lane_s = max(self._lane_s, min(self._lane_s + job.remaining_s, left_s * self._lanes))
        return spare_s if job.promised and not job.partial else math.inf

    def delay(self, job: Job, behind: Sequence[Job], margin: float) -> float:
        """By how many lane-seconds a job before these makes one of them late, with `margin` times their time to go."""
        harmed_s = 0.0
        for each in behind:
            spare_s = self.append(each)
            kept_s = (1.0 - 1.0 / margin) * (each.deadline - self._now) * self._lanes
            if spare_s < math.inf:
                harmed_s = max(harmed_s, job.remaining_s - max(0.0, spare_s - kept_s))
        return harmed_s


@dataclass(frozen=True, slots=True)
class Every:
    """Admits what each of several rules admits, asked in order."""

    rules: tuple[Admission, ...]

    def admit(self, job: Job, now: float, queued: Sequence[Job]) -> None:
        """See Admission."""
        for rule in self.rules:
            rule.admit(job, now, queued)
