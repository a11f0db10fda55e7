"""The first two stages of one request, cut into units of work."""

import threading
from collections.abc import Callable, Sequence
from functools import partial

from artifact import Product

from .cost import StageCost
from .engine import Engine, ProductState, QueryState
from .job import Job
from .work_queue import Unit

PREPARE_PRODUCTS = 32
"""Products of one unit of preparing: about as long as a micro-batch, so that it blocks others no longer."""


class Preparation:
    """Prepares a job's query and products on the lanes; the last unit to end hands on to the planner.

    Args:
        job: whose work it is.
        products: those to prepare, at least one.
        engine: the model.
        cost: told of every unit's time.
        clock: monotonic, in seconds.
        on_prepared: called once, on a lane, with the states of the query and of the products, in order.
    """

    def __init__(
        self,
        job: Job,
        products: Sequence[Product],
        engine: Engine,
        cost: StageCost,
        clock: Callable[[], float],
        on_prepared: Callable[[QueryState, list[ProductState]], None],
    ) -> None:
        self._job = job
        self._products = products
        self._engine = engine
        self._cost = cost
        self._clock = clock
        self._on_prepared = on_prepared
        self._query: QueryState = None
        self._states: list[ProductState] = [None] * len(products)
        self._starts = range(0, len(products), PREPARE_PRODUCTS)
        self._left = len(self._starts)
        self._lock = threading.Lock()

    def units(self) -> list[Unit]:
        """The work."""
        return [Unit(self._job, partial(self._run, start)) for start in self._starts]

    def _run(self, start: int) -> None:
        started = self._clock()
        if self._job.times.prepare_started is None:
            self._job.times.prepare_started = started
        if start == 0:
            self._query = self._engine.prepare_query(self._job.query)
        chunk = self._products[start : start + PREPARE_PRODUCTS]
        self._states[start : start + len(chunk)] = self._engine.prepare_products(chunk)
        self._cost.observe(self._clock() - started, len(chunk))
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._on_prepared(self._query, self._states)
