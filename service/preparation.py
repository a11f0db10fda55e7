"""The first two stages of one request, cut into units of work."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

from artifact import Product

from .cost import CostModel
from .engine import Engine, ProductState, QueryState
from .job import Job
from .work_queue import Unit

PREPARE_PRODUCTS = 32
"""Products of one unit of preparing: no longer than a micro-batch, so that it blocks others no longer."""

OnPrepared = Callable[[range, QueryState, Sequence[ProductState]], Unit | None]


class Preparation:
    """Prepares a job's query and products on the lanes.

    A request that wants all its scores is handed on whole, so that pairs of like length can be batched together; a
    partial one in chunks as they come, the first products first.

    Args:
        job: whose work it is.
        products: those to prepare, at least one.
        engine: the model.
        cost: told of every unit's time.
        clock: monotonic, in seconds.
        on_prepared: called on a lane with positions among `products`, the query's state and the products' states, in
            order. What it returns is run by the same lane at once.
    """

    def __init__(
        self,
        job: Job,
        products: Sequence[Product],
        engine: Engine,
        cost: CostModel,
        clock: Callable[[], float],
        on_prepared: OnPrepared,
    ) -> None:
        self._job = job
        self._products = products
        self._engine = engine
        self._cost = cost
        self._clock = clock
        self._on_prepared = on_prepared
        self._query: list[QueryState] = []
        self._states: list[ProductState] = [None] * len(products)
        self._left = len(products)
        self._lock = threading.Lock()

    def units(self, *, counted: bool = True) -> list[Unit]:
        """The work. Chunk i of a partial request, and what comes of it, rank before chunk i + 1.

        Args:
            counted: whether it takes time from the lanes that predictions are about.
        """
        starts = range(0, len(self._products), PREPARE_PRODUCTS)
        chunks = [range(start, min(start + PREPARE_PRODUCTS, len(self._products))) for start in starts]
        return [
            Unit(
                self._job,
                partial(self._run, chunk),
                self._cost.prepare_s(len(chunk)) if counted else 0.0,
                rank=chunk.start,
            )
            for chunk in chunks
        ]

    def _run(self, chunk: range, _: Sequence[Unit]) -> Unit | None:
        started = self._clock()
        if self._job.times.prepare_started is None:
            self._job.times.prepare_started = started
        query = self._prepared_query()
        states = self._engine.prepare_products(self._products[chunk.start : chunk.stop])
        ended = self._clock()
        self._cost.observe_prepare(ended - started, len(chunk))
        self._job.times.prepare_ended = ended
        if self._job.partial:
            return self._on_prepared(chunk, query, states)
        with self._lock:
            self._states[chunk.start : chunk.stop] = states
            self._left -= len(chunk)
            last = self._left == 0
        return self._on_prepared(range(len(self._products)), query, self._states) if last else None

    def _prepared_query(self) -> QueryState:
        with self._lock:
            if not self._query:
                self._query.append(self._engine.prepare_query(self._job.query))
            return self._query[0]
