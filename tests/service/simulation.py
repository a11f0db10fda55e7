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
from service.metrics import Metrics
from service.overload import Overload
from service.scorer import Scorer
from service.workers import Workers

from .serving import FakeEngine

PREPARE_S = 0.0001
PAIR_S = 0.001
PRODUCT_S = PREPARE_S + PAIR_S
BUDGET_TOKENS = 8 * 16
ENCODE_TOKENS = 8 * 4


class Clock:
    def __init__(self, now=100.0):
        self.now = now

    def __call__(self):
        return self.now


class CostlyEngine(FakeEngine):
    """Takes a fixed time per product, on the simulated clock; `slowness` makes the machine slower.

    With `noise`, a unit takes between (1 - noise) and (1 + noise) times that. A run takes `run_s` by itself.
    """

    def __init__(self, clock, noise=0.0, run_s=0.0):
        self.clock = clock
        self.noise = noise
        self.run_s = run_s
        self.random = random.Random(0)
        self.slowness = 1.0
        self.scored_products = 0

    def prepare_products(self, products):
        self._spend(PREPARE_S * len(products))
        return super().prepare_products(products)

    def score_pairs(self, pairs):
        self._spend(self.run_s + PAIR_S * len(pairs))
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
    """Requests arrive, lanes work, deadlines pass. `ended` has (job, when) of every admitted request.

    With `run_s`, it is like a GPU: a run takes so long by itself, and texts are prepared by a lane of its own. With
    `encode_s`, the engine's products are encoded first, which takes so long for each.
    """

    def __init__(self, lanes=2, admission=True, noise=0.0, run_s=0.0, engine=CostlyEngine, encode_s=0.0):
        self.clock = Clock()
        self.engine = engine(self.clock, noise, run_s)
        self.metrics = Metrics()
        self.workers = Workers.make(
            lanes,
            1 if run_s else 0,
            self.clock,
            self.metrics,
            lambda predicted_s, taken_s: self.overload.pace.observe(predicted_s, taken_s),
        )
        self.lanes = self.workers.pairs
        table = [LatencyPoint(pairs=pairs, tokens=8, seconds=run_s + pairs * PAIR_S) for pairs in (1, 16)]
        encoding = [LatencyPoint(pairs=n, tokens=8, seconds=n * encode_s) for n in (1, 16)] if encode_s else []
        self.cost = CostModel(table, BUDGET_TOKENS, encoding, ENCODE_TOKENS)
        self.overload = Overload(
            lanes=lambda: lanes,
            micro_batch_s=lambda: self.cost.unit_s,
            max_backlog_s=2.0,
            metrics=self.metrics,
            random_source=random.Random(0),
        )
        self.backlog = self.overload.backlog if admission else Backlog(Every(()), lambda *_: None)
        self.scorer = Scorer(
            self.engine,
            self.workers,
            self.backlog,
            budget_tokens=BUDGET_TOKENS,
            clock=self.clock,
            metrics=self.metrics,
            cost=self.cost,
            encode_tokens=ENCODE_TOKENS,
        )
        self.free_at = {
            each: [self.clock.now] * each.count for each in dict.fromkeys((self.workers.preparing, self.lanes))
        }
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

    def submit(self, products, timeout_s, partial=False, titles=None):
        """Returns the job, None where it was refused. All products have one title, or these."""
        box = []

        def on_finish():
            self.ended.append((box[0], self.clock.now))

        deadline = self.clock.now + timeout_s
        try:
            job = self.scorer.submit(
                "query",
                [{"title": title} for title in titles or ["1"] * products],
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
            next_event = self.events[0].at if self.events else math.inf
            next_work, lanes = min(
                ((min(free_at) if lanes.waiting else math.inf, lanes) for lanes, free_at in self.free_at.items()),
                key=lambda each: each[0],
            )
            now = min(next_event, next_work)
            if now > 100.0 + until:
                self.clock.now = 100.0 + until
                return
            idle = [each for each in self.free_at if not each.waiting]
            self.clock.now = now
            if next_event <= next_work:
                heapq.heappop(self.events).act()
            elif lanes.run_next():
                free_at = self.free_at[lanes]
                free_at[free_at.index(min(free_at))] = self.clock.now
            for each in idle:
                # Lanes that had nothing to do begin with what has just come.
                self.free_at[each] = [max(free_at, self.clock.now) for free_at in self.free_at[each]]

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
