"""Takes a request through the lanes: prepare its products, plan micro-batches, score them.

All CPU work of a request, tokenising too, runs on the lanes under the one queue: the event loop only submits and waits.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from artifact import Product

from .admission import Admission, Load
from .engine import Engine, ProductState, QueryState
from .errors import DeadlineExceededError
from .job import Job
from .lanes import Lanes
from .metrics import Metrics
from .planner import MicroBatch, plan
from .work_queue import Unit

PREPARE_PRODUCTS = 32
"""Products of one unit of preparing: about as long as a micro-batch, so that it blocks others no longer."""

PARTIAL_WINDOW = 32
"""For partial answers, sorting by length stays within so many products: the first ones are the important ones."""


class Scorer:
    """Scores requests with an engine over lanes.

    Args:
        engine: the model.
        lanes: started by the caller.
        admission: who may enter.
        budget_tokens: most padded tokens of a micro-batch.
        clock: monotonic, in seconds.
        metrics: told of micro-batches.
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
    ) -> None:
        self._engine = engine
        self._lanes = lanes
        self._admission = admission
        self._budget_tokens = budget_tokens
        self._clock = clock
        self._metrics = metrics
        self._lock = threading.Lock()
        self._queued_products = 0

    @property
    def queued_products(self) -> int:
        """Products admitted and not yet answered."""
        return self._queued_products

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
        """Admits a request and hands it to the lanes.

        Raises:
            OverloadedError: there is no room for it.
            DeadlineExceededError: its deadline has passed already.
        """
        now = self._clock()
        if now >= deadline and not partial_answer:
            raise DeadlineExceededError("the deadline passed before the request could be queued")

        def finish() -> None:
            with self._lock:
                self._queued_products -= len(products)
            on_finish()

        with self._lock:
            self._admission.admit(len(products), deadline, now, Load(self._queued_products))
            self._queued_products += len(products)
        job = Job(
            query,
            products,
            deadline=deadline,
            partial=partial_answer,
            request_id=request_id,
            submitted=now,
            on_finish=finish,
        )
        preparation = _Preparation(job, self._engine, self._clock, on_prepared=self._plan)
        self._lanes.add(preparation.units())
        return job

    def _plan(self, job: Job, query: QueryState, products: list[ProductState]) -> None:
        lengths = [self._engine.pair_tokens(query, product) for product in products]
        batches = plan(
            lengths,
            self._budget_tokens,
            lanes=self._lanes.count,
            window=PARTIAL_WINDOW if job.partial else None,
        )
        job.times.prepare_ended = self._clock()
        self._lanes.add(
            Unit(job, partial(self._score, job, batch, query, [products[i] for i in batch.indices]))
            for batch in batches
        )

    def _score(self, job: Job, batch: MicroBatch, query: QueryState, products: list[ProductState]) -> None:
        started = self._clock()
        if job.times.pairs_started is None:
            job.times.pairs_started = started
        logits = self._engine.score_pairs([(query, product) for product in products])
        ended = self._clock()
        job.times.pairs_ended = ended
        self._metrics.micro_batch(
            seconds=ended - started, pairs=len(batch.indices), tokens=batch.tokens, padded_tokens=batch.padded_tokens
        )
        job.record(batch.indices, np.asarray(logits, dtype=np.float32))


class _Preparation:
    """The first two stages of one job, cut into units; the last unit to end hands on to the planner."""

    def __init__(
        self,
        job: Job,
        engine: Engine,
        clock: Callable[[], float],
        on_prepared: Callable[[Job, QueryState, list[ProductState]], None],
    ) -> None:
        self._job = job
        self._engine = engine
        self._clock = clock
        self._on_prepared = on_prepared
        self._query: QueryState = None
        self._products: list[ProductState] = [None] * len(job.products)
        self._starts = range(0, len(job.products), PREPARE_PRODUCTS)
        self._left = len(self._starts)
        self._lock = threading.Lock()

    def units(self) -> list[Unit]:
        return [Unit(self._job, partial(self._run, start)) for start in self._starts]

    def _run(self, start: int) -> None:
        if self._job.times.prepare_started is None:
            self._job.times.prepare_started = self._clock()
        if start == 0:
            self._query = self._engine.prepare_query(self._job.query)
        chunk = self._job.products[start : start + PREPARE_PRODUCTS]
        self._products[start : start + len(chunk)] = self._engine.prepare_products(chunk)
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._on_prepared(self._job, self._query, self._products)
