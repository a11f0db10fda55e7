"""The first two stages of one request, cut into units of work."""

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from typing import Protocol

from artifact import Product

from .cost import CostModel
from .engine import Engine, Fresh, Outlook, ProductState, QueryState
from .job import Job
from .planner import MicroBatch, plan, plan_in_order
from .work_queue import Unit

PREPARE_PRODUCTS = 32
"""Products of one unit of preparing: no longer than a micro-batch, so that it blocks others no longer."""

RECALL_PRODUCTS = 64
"""The same where what is costly comes in units of its own."""

OnPrepared = Callable[[Sequence[int], QueryState, Sequence[ProductState]], Unit | None]


class Preparing(Protocol):
    """The lanes that prepare."""

    @property
    def count(self) -> int:
        """How many."""
        ...

    def add(self, units: Iterable[Unit]) -> None:
        """Hands them units."""
        ...


class Preparation:
    """Prepares a job's query and products on the lanes.

    A request that wants all its scores is handed on whole, so that pairs of like length can be batched together; a
    partial one in parts as they come, the first products first. Products that have to be encoded first become
    micro-batches of their own, which any lane may take. No lane waits for another.

    Args:
        job: whose work it is.
        products: those to prepare, at least one.
        outlook: of the query and these products; what it has at hand is not prepared again.
        engine: the model.
        cost: told of every unit's time.
        clock: monotonic, in seconds.
        lanes: take what is to be encoded.
        encode_tokens: most padded tokens of a micro-batch of products to encode.
        counted: whether it takes time from the lanes that predictions are about.
        on_prepared: called on a lane with ascending positions among `products`, the query's state and these products'
            states. What it returns is run by the same lane at once.
    """

    def __init__(
        self,
        job: Job,
        products: Sequence[Product],
        outlook: Outlook,
        engine: Engine,
        cost: CostModel,
        clock: Callable[[], float],
        *,
        lanes: Preparing,
        encode_tokens: int,
        counted: bool,
        on_prepared: OnPrepared,
    ) -> None:
        self._job = job
        self._products = products
        self._outlook = outlook
        self._engine = engine
        self._cost = cost
        self._clock = clock
        self._lanes = lanes
        self._encode_tokens = encode_tokens
        self._counted = counted
        self._on_prepared = on_prepared
        # Written by one unit each, before it is ready.
        self._states: list[ProductState | None] = list(outlook.states or [None] * len(products))
        self._unready = len(products) if outlook.states is None else len(outlook.unknown)
        self._ready: list[int] = []
        self._query: list[QueryState] = []
        self._query_taken = False
        self._lock = threading.Lock()
        # What admission took encoding for, by product without a state.
        fresh_s = cost.encode_of_request_s(self._unready * outlook.fresh_share, outlook.fresh_tokens)
        self._guessed_fresh_s = fresh_s / self._unready if self._unready and counted else 0.0

    def units(self) -> list[Unit]:
        """The work. Chunk i of a partial request, and what comes of it, rank before chunk i + 1."""
        return [
            Unit(
                self._job,
                partial(self._recall, chunk),
                self._recall_s(chunk, first=i == 0),
                rank=chunk[0] if chunk else 0,
            )
            for i, chunk in enumerate(self._chunks())
        ]

    def _chunks(self) -> list[Sequence[int]]:
        if self._outlook.states is None or self._job.partial:
            return _cut(range(len(self._products)), PREPARE_PRODUCTS)
        return _cut(self._outlook.unknown, RECALL_PRODUCTS) or [()]

    def _recall_s(self, chunk: Sequence[int], *, first: bool) -> float:
        if not self._counted:
            return 0.0
        unknown = len(self._unknown(chunk))
        query_s = self._cost.query_s(self._outlook.query_tokens) if first else 0.0
        return query_s + (self._cost.prepare_s(unknown) if unknown else 0.0)

    def _unknown(self, chunk: Sequence[int]) -> Sequence[int]:
        """Those without a state at the start."""
        states = self._outlook.states
        return chunk if states is None else [i for i in chunk if states[i] is None]

    def _recall(self, chunk: Sequence[int], _: Sequence[Unit]) -> Unit | None:
        """Everything of a chunk but what has to be encoded, and the query, where no other unit has taken it."""
        started = self._clock()
        times = self._job.times
        if times.prepare_started is None:
            times.prepare_started = started
        unknown = self._unknown(chunk)
        fresh: list[tuple[int, Fresh]] = []
        for i, state in zip(unknown, self._recalled(unknown), strict=True):
            if isinstance(state, Fresh):
                fresh.append((i, state))
            else:
                self._states[i] = state
        # Before others begin to encode the rest, and to set its states.
        ready = [i for i in chunk if self._states[i] is not None]
        recall_s = self._clock() - started
        if self._outlook.states is not None and unknown:
            # Before the query, so that other lanes have something to do meanwhile.
            self._encode_later(chunk, len(unknown), fresh)
        query_s = self._run_query()
        if unknown:
            self._cost.observe_prepare(recall_s + query_s, len(unknown))
        times.prepare_ended = times.recall_ended = self._clock()
        return self._hand_on(ready)

    def _recalled(self, positions: Sequence[int]) -> Sequence[ProductState | Fresh]:
        return self._engine.recall_products([self._products[i] for i in positions]) if positions else ()

    def _run_query(self) -> float:
        """Prepares the query unless another unit does. Returns the seconds that are not accounted for yet."""
        with self._lock:
            if self._query_taken:
                return 0.0
            self._query_taken = True
        started = self._clock()
        state = self._engine.prepare_query(self._job.query)
        seconds = self._clock() - started
        with self._lock:
            self._query.append(state)
        if not self._outlook.query_tokens:
            return seconds
        self._cost.observe_query(seconds, self._outlook.query_tokens)
        return 0.0

    def _encode_later(self, chunk: Sequence[int], unknown: int, fresh: Sequence[tuple[int, Fresh]]) -> None:
        """Hands what has to be encoded to the lanes, in micro-batches; a product that is there twice goes once."""
        positions: dict[Hashable, list[int]] = {}
        for i, product in fresh:
            positions.setdefault(product.key, []).append(i)
        distinct = [(positions[product.key], product) for i, product in fresh if positions[product.key][0] == i]
        lengths = [product.tokens for _, product in distinct]
        in_order = self._job.partial
        if in_order:
            batches = plan_in_order(lengths, self._encode_tokens)
        else:
            batches = plan(lengths, self._encode_tokens, lanes=self._lanes.count)
        units = []
        for batch in batches:
            taken = [distinct[i] for i in batch.indices]
            cost_s = self._cost.encode_s(len(taken), batch.longest) if self._counted else 0.0
            rank = min(same[0] for same, _ in taken) if in_order else chunk[0]
            units.append(Unit(self._job, partial(self._encode, batch, taken), cost_s, rank=rank))
        self._job.replan(unknown * self._guessed_fresh_s, sum(unit.cost_s for unit in units))
        if units:
            padded_tokens = sum(batch.padded_tokens for batch in batches)
            self._cost.observe_fresh_tokens(padded_tokens, len(distinct), self._outlook.fresh_tokens)
            self._lanes.add(units)

    def _encode(
        self, batch: MicroBatch, fresh: Sequence[tuple[Sequence[int], Fresh]], _: Sequence[Unit]
    ) -> Unit | None:
        times = self._job.times
        started = self._clock()
        if times.encode_started is None:
            times.encode_started = started
        states = self._engine.encode_products([product for _, product in fresh])
        ended = self._clock()
        self._cost.observe_encode(ended - started, len(fresh), batch.longest)
        times.encode_ended = times.prepare_ended = ended
        for (same, _product), state in zip(fresh, states, strict=True):
            for i in same:
                self._states[i] = state
        return self._hand_on([i for same, _ in fresh for i in same])

    def _hand_on(self, ready: Sequence[int]) -> Unit | None:
        """Says that these have their states. Whoever comes last, of these and of the query, goes on."""
        with self._lock:
            self._ready += ready
            if not self._query or (not self._job.partial and len(self._ready) < self._unready):
                return None
            all_ready, self._ready = self._ready, []
        query = self._query[0]
        if not self._job.partial:
            return self._on_prepared(range(len(self._products)), query, self._states)
        if not all_ready:
            return None
        all_ready.sort()
        return self._on_prepared(all_ready, query, [self._states[i] for i in all_ready])


def _cut(positions: Sequence[int], most: int) -> list[Sequence[int]]:
    return [positions[start : start + most] for start in range(0, len(positions), most)]
