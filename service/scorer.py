"""Takes a request through the lanes: prepare its products, plan micro-batches, score them.

All CPU work of a request, tokenising too, runs on the lanes under the one queue: the event loop only submits and waits.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from artifact import Product

from .admission import Admission
from .cost import CostEstimate
from .engine import Engine, ProductState, QueryState
from .errors import DeadlineExceededError
from .job import Job
from .lanes import Lanes
from .metrics import Metrics
from .planner import MicroBatch, plan
from .preparation import Preparation
from .score_cache import Key, ScoreCache
from .work_queue import Unit

PARTIAL_WINDOW = 32
"""For partial answers, sorting by length stays within so many products: the first ones are the important ones."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What of a job is left for the model: positions in the request, and under which keys to keep their logits."""

    job: Job
    positions: Sequence[int]
    keys: Sequence[Key]


class Scorer:
    """Scores requests with an engine over lanes.

    Args:
        engine: the model.
        lanes: started by the caller.
        admission: who may enter.
        budget_tokens: most padded tokens of a micro-batch.
        clock: monotonic, in seconds.
        metrics: told of micro-batches.
        cost: told of the time of all work.
        cache: logits already known; None for none.
    """

    def __init__(
        self,
        engine: Engine,
        lanes: Lanes,
        admission: Admission,
        *,
        budget_tokens: int,
        clock: Callable[[], float],
        metrics: Metrics,
        cost: CostEstimate,
        cache: ScoreCache | None = None,
    ) -> None:
        self._engine = engine
        self._lanes = lanes
        self._admission = admission
        self._budget_tokens = budget_tokens
        self._clock = clock
        self._metrics = metrics
        self._cost = cost
        self._cache = cache
        self._lock = threading.Lock()
        self._queued: dict[Job, None] = {}

    @property
    def queued_products(self) -> int:
        """Products admitted, not yet scored, whose request has not ended."""
        with self._lock:
            return sum(job.unscored for job in self._queued)

    def submit(
        self,
        query: str,
        products: Sequence[Product],
        *,
        deadline: float,
        partial_answer: bool,
        request_id: str,
        on_finish: Callable[[], None],
    ) -> Job:
        """Admits a request and hands it to the lanes. One whose scores are all known has ended on return.

        Raises:
            OverloadedError: there is no room for it, or it would not be done in time.
            DeadlineExceededError: its deadline has passed already.
        """
        now = self._clock()
        if now >= deadline and not partial_answer:
            raise DeadlineExceededError("the deadline passed before the request could be queued")

        def finish() -> None:
            self._finish(job)
            on_finish()

        job = Job(
            query,
            products,
            deadline=deadline,
            partial=partial_answer,
            request_id=request_id,
            submitted=now,
            on_finish=finish,
        )
        work = self._recall(job)
        if now >= deadline:
            job.end(DeadlineExceededError("the deadline passed before the request could be queued"))
        if job.ended:
            return job
        with self._lock:
            self._admission.admit(job, now, self._queued)
            self._queued[job] = None
        left = [products[i] for i in work.positions]
        prepared = partial(self._plan, work)
        self._lanes.add(
            Preparation(job, left, self._engine, self._cost.prepare, self._clock, on_prepared=prepared).units()
        )
        return job

    def _recall(self, job: Job) -> _Work:
        """Records the logits that the cache has; what it has not is work."""
        if self._cache is None:
            return _Work(job, range(len(job.products)), ())
        keys = self._cache.keys(job.query, job.products)
        logits = self._cache.look_up(keys)
        known = ~np.isnan(logits)
        if known.any():
            job.record(np.flatnonzero(known).tolist(), logits[known])
        positions: list[int] = np.flatnonzero(~known).tolist()
        return _Work(job, positions, [keys[i] for i in positions])

    def _plan(self, work: _Work, query: QueryState, products: list[ProductState]) -> None:
        job = work.job
        lengths = [self._engine.pair_tokens(query, product) for product in products]
        batches = plan(
            lengths,
            self._budget_tokens,
            lanes=self._lanes.count,
            window=PARTIAL_WINDOW if job.partial else None,
        )
        job.times.prepare_ended = self._clock()
        self._lanes.add(
            Unit(job, partial(self._score, work, batch, query, [products[i] for i in batch.indices]))
            for batch in batches
        )

    def _score(self, work: _Work, batch: MicroBatch, query: QueryState, products: list[ProductState]) -> None:
        job = work.job
        started = self._clock()
        if job.times.pairs_started is None:
            job.times.pairs_started = started
        logits = np.asarray(self._engine.score_pairs([(query, product) for product in products]), dtype=np.float32)
        ended = self._clock()
        job.times.pairs_ended = ended
        self._cost.pairs.observe(ended - started, len(batch.indices))
        self._metrics.micro_batch(
            seconds=ended - started, pairs=len(batch.indices), tokens=batch.tokens, padded_tokens=batch.padded_tokens
        )
        if self._cache is not None:
            logits = self._cache.keep([work.keys[i] for i in batch.indices], logits)
        job.record([work.positions[i] for i in batch.indices], logits)

    def _finish(self, job: Job) -> None:
        with self._lock:
            self._queued.pop(job, None)
        if job.error is None and job.predicted_s:
            self._metrics.prediction_ratio.observe((self._clock() - job.times.submitted) / job.predicted_s)
