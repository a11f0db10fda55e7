"""Decides at a request's arrival whether it may enter the queue.

A prediction has to know the order of work (see work_queue): the earliest deadline goes first, but every second unit
goes to the smallest request that waits. A request is therefore done by the earlier of two ways:

- in deadline order: after all work with an earlier deadline, and after smaller requests that overtake it;
- by overtaking: with every second unit, after all requests that are smaller still. A request of one product beside
  thousands is done after a few micro-batches, whatever their deadlines.

All products cost the same here, prepared or not, whatever their length. Lanes run independent units, so a backlog of x
lane-seconds takes x / lanes.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .cost import CostEstimate
from .errors import OverloadedError, PredictedLateError
from .job import Job

HEADROOM = 1.15
"""A request is admitted if it would be on time even with its prediction this many times longer."""


class Admission(Protocol):
    """An admission rule. Called on the event loop: it must not block."""

    def admit(self, job: Job, now: float, queued: Collection[Job]) -> None:
        """Returns for a request that may enter; the caller then adds it to the queue.

        Args:
            job: the request. Its deadline has not passed.
            now: the monotonic clock, in seconds.
            queued: the requests that were admitted and have not ended.

        Raises:
            OverloadedError: it may not, and when to try again.
        """
        ...


@dataclass(frozen=True, slots=True)
class BoundedQueue:
    """Admits while the products in the queue, waiting or in work, stay within a bound."""

    max_queued_products: int
    cost: CostEstimate = field(default_factory=CostEstimate)
    lanes: int = 1

    def admit(self, job: Job, now: float, queued: Collection[Job]) -> None:  # noqa: ARG002
        """See Admission."""
        products = sum(each.unscored for each in queued)
        if products + job.unscored > self.max_queued_products:
            raise OverloadedError(
                f"{products} products are queued, and {job.unscored} more would pass the limit of "
                f"{self.max_queued_products}",
                retry_after_s=_whole_seconds(products * self.cost.product_s / self.lanes),
            )


@dataclass(frozen=True, slots=True)
class PredictedTime:
    """Admits a request if it will be done by its deadline, and makes no request late that was admitted before.

    Two exceptions. With nothing in work, every request is admitted: an estimate that is too high heals by new work
    alone. And a request that fits one micro-batch may overtake at the cost of larger ones, which the order of work
    promises it; they have the headroom for that.
    """

    cost: CostEstimate
    lanes: int

    def admit(self, job: Job, now: float, queued: Collection[Job]) -> None:
        """See Admission."""
        left_s = job.deadline - now
        waiting = [each for each in queued if not each.is_dead(now)]
        predicted_s = min(self._in_order_s(job, now, waiting), self._overtaking_s(job, waiting))
        behind = [each for each in waiting if job.deadline < each.deadline or job.unscored < each.unscored]
        own_s = job.unscored * self.cost.product_s
        if waiting:
            late_s = predicted_s * HEADROOM - left_s
            if late_s > 0:
                raise PredictedLateError(
                    f"predicted to be done in {predicted_s * 1000:.0f} ms, and due in {left_s * 1000:.0f} ms",
                    retry_after_s=_whole_seconds(late_s),
                )
            harmed = any(each.spare_s < own_s for each in behind)
            if harmed and job.unscored > self.cost.micro_batch_products:
                raise PredictedLateError("it would make requests late that were admitted before")
        for each in behind:
            each.spare_s -= own_s
        job.predicted_s = predicted_s
        # Nothing can make late a partial answer, nor what is predicted late with nothing else in work.
        if not job.partial and predicted_s < left_s:
            job.spare_s = (left_s - predicted_s) * self.lanes

    def _in_order_s(self, job: Job, now: float, waiting: Sequence[Job]) -> float:
        product_s = self.cost.product_s
        lane_s = 0.0
        for each in sorted((each for each in waiting if each.deadline <= job.deadline), key=lambda each: each.deadline):
            # What is not scored at a request's deadline is dropped there.
            lane_s = min(lane_s + each.unscored * product_s, (each.deadline - now) * self.lanes)
        lane_s += self._own_s(job)
        later = sum(each.unscored for each in waiting if each.deadline > job.deadline and each.unscored < job.unscored)
        # Overtaking takes every second unit at most.
        return self._elapsed_s(lane_s + min(later * product_s, lane_s))

    def _overtaking_s(self, job: Job, waiting: Sequence[Job]) -> float:
        unit_products = self.cost.micro_batch_products
        lane_s = self._own_s(job)
        turns = 1 + math.ceil((1 if job.partial else job.unscored) / unit_products)
        for each in waiting:
            if (each.unscored, each.deadline) <= (job.unscored, job.deadline):
                lane_s += each.unscored * self.cost.product_s
                turns += 1 + math.ceil(each.unscored / unit_products)
        # Each of these units waits for one of the request whose deadline is the earliest.
        return self._elapsed_s(lane_s + (turns - 1) * self.cost.pairs.unit_s)

    def _own_s(self, job: Job) -> float:
        """Lane-seconds until its caller gets something: all products, or of a partial answer a first micro-batch."""
        pairs = min(float(job.unscored), self.cost.micro_batch_products) if job.partial else job.unscored
        return job.unscored * self.cost.prepare.product_s + pairs * self.cost.pairs.product_s

    def _elapsed_s(self, lane_s: float) -> float:
        # The unit in work has to end first, and the last one runs on one lane alone.
        return lane_s / self.lanes + self.cost.pairs.unit_s


@dataclass(frozen=True, slots=True)
class Every:
    """Admits what each of several rules admits, asked in order."""

    rules: tuple[Admission, ...]

    def admit(self, job: Job, now: float, queued: Collection[Job]) -> None:
        """See Admission."""
        for rule in self.rules:
            rule.admit(job, now, queued)


def _whole_seconds(seconds: float) -> int:
    return max(1, math.ceil(seconds))
