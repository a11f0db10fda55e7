"""The scorer, its admission and the order of work on a simulated clock: exact costs, no threads, no sleeping."""

import heapq
import math
import random
from dataclasses import dataclass, field

import numpy as np

from artifact import LatencyPoint
from service.admission import Every
from service.backlog import Backlog
from service.cost import CostModel
from service.errors import ClientGoneError, DeadlineExceededError, OverloadedError
from service.job import Job
from service.lanes import Lanes
from service.metrics import Metrics
from service.overload import Overload
from service.scorer import Scorer
from service.workers import Workers

from .serving import FakeEngine

PREPARE_S = 0.0001
PAIR_S = 0.001
PRODUCT_S = PREPARE_S + PAIR_S
BUDGET_TOKENS = 8 * 16


class Clock:
    def __init__(self, now=100.0):
        self.now = now

    def __call__(self):
        return self.now


class CostlyEngine(FakeEngine):
    """Takes a fixed time per product, on the simulated clock; `slowness` makes the machine slower.

    With `noise`, a unit takes between (1 - noise) and (1 + noise) times that.
    """

    def __init__(self, clock, noise=0.0):
        self.clock = clock
        self.noise = noise
        self.random = random.Random(0)
        self.slowness = 1.0
        self.scored_products = 0

    def prepare_products(self, products):
        self._spend(PREPARE_S * len(products))
        return super().prepare_products(products)

    def score_pairs(self, pairs):
        self._spend(PAIR_S * len(pairs))
        self.scored_products += len(pairs)
        return np.zeros(len(pairs), dtype=np.float32)

    def _spend(self, seconds):
        self.clock.now += seconds * self.slowness * (1 + self.noise * self.random.uniform(-1, 1))


@dataclass(order=True)
class Event:
    at: float
    serial: int
    act: object = field(compare=False)


class Simulation:
    """Requests arrive, lanes work, deadlines pass. `ended` has (job, when) of every admitted request."""

    def __init__(self, lanes=2, admission=True, noise=0.0):
        self.clock = Clock()
        self.engine = CostlyEngine(self.clock, noise)
        self.metrics = Metrics()
        self.lanes = Lanes(
            lanes,
            self.clock,
            self.metrics,
            lambda predicted_s, taken_s: self.overload.pace.observe(predicted_s, taken_s),
        )
        table = [LatencyPoint(pairs=pairs, tokens=8, seconds=pairs * PAIR_S) for pairs in (1, 16)]
        self.cost = CostModel(table, BUDGET_TOKENS)
        self.overload = Overload(
            lanes=lambda: lanes,
            micro_batch_s=lambda: self.cost.micro_batch_s,
            max_backlog_s=2.0,
            metrics=self.metrics,
            random_source=random.Random(0),
        )
        self.backlog = self.overload.backlog if admission else Backlog(Every(()), lambda *_: None)
        self.scorer = Scorer(
            self.engine,
            Workers(self.lanes, self.lanes),
            self.backlog,
            budget_tokens=BUDGET_TOKENS,
            clock=self.clock,
            metrics=self.metrics,
            cost=self.cost,
        )
        self.free_at = [self.clock.now] * lanes
        self.events = []
        self.serial = 0
        self.ended: list[tuple[Job, float]] = []
        self.refused: list[OverloadedError] = []

    @property
    def capacity(self):
        """Products per second."""
        return self.lanes.count / PRODUCT_S

    def at(self, when, act):
        """Has `act()` called at a time in seconds from the simulation's zero."""
        self.serial += 1
        heapq.heappush(self.events, Event(100.0 + when, self.serial, act))

    def submit(self, products, timeout_s, partial=False):
        """Returns the job, None where it was refused."""
        box = []

        def on_finish():
            self.ended.append((box[0], self.clock.now))

        deadline = self.clock.now + timeout_s
        try:
            job = self.scorer.submit(
                "query",
                [{"title": "1"}] * products,
                deadline=deadline,
                partial_answer=partial,
                request_id="r",
                on_finish=on_finish,
            )
        except OverloadedError as error:
            self.refused.append(error)
            return None
        box.append(job)
        self.at(deadline - 100.0, lambda: job.end(DeadlineExceededError("late")))
        return job

    def leave(self, job):
        job.end(ClientGoneError("left"))

    def run(self, until):
        """Works on until the time, in seconds from zero."""
        while True:
            lane = min(range(self.lanes.count), key=self.free_at.__getitem__)
            idle = not self.lanes.waiting
            next_event = self.events[0].at if self.events else math.inf
            next_work = math.inf if idle else self.free_at[lane]
            now = min(next_event, next_work)
            if now > 100.0 + until:
                self.clock.now = 100.0 + until
                return
            self.clock.now = now
            if next_event <= next_work:
                heapq.heappop(self.events).act()
                # A lane that had nothing to do begins with what has just arrived.
                self.free_at = [max(each, now) if idle else each for each in self.free_at]
                continue
            if self.lanes.run_next():
                self.free_at[lane] = self.clock.now

    def in_time(self, since=0.0, until=math.inf):
        """Complete jobs that ended in time, by when they ended."""
        return [
            job
            for job, when in self.ended
            if job.error is None and since <= when - 100.0 < until and when <= job.deadline
        ]

    def late(self):
        """Admitted, not partial, and not complete by the deadline."""
        return [job for job, when in self.ended if not job.partial and (job.error is not None or when > job.deadline)]
