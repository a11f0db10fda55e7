"""A real engine with faults in it."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from artifact import Product

from ..engine import Engine, Fresh, Kept, Outlook, ProductState, QueryState
from .grammar import Fault

T = TypeVar("T")

Pairs = Sequence[tuple[QueryState, ProductState]]


class PlantedLaneDeath(BaseException):
    """What no handler of ordinary errors catches, as SystemExit is none."""


class PlantedModelError(RuntimeError):
    """Like what ONNX Runtime raises: a RuntimeError with a text of its own."""


class Runs:
    """Counts micro-batches over all engines and lanes, and says which faults the next one meets."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._faults = faults
        self._count = 0
        self._lock = threading.Lock()

    def next(self) -> list[Fault]:
        """Counts one."""
        with self._lock:
            self._count += 1
            return [fault for fault in self._faults if fault.run == self._count]


class PlantedEngine:
    """Scores as the engine does, where no fault is in the way.

    Args:
        engine: the real one.
        faults: all that are planted.
        runs: shared by the engines of one service.
        clock: monotonic, in seconds.
        sleep: for so many seconds, with the interpreter's lock released.
    """

    def __init__(
        self,
        engine: Engine,
        faults: Sequence[Fault],
        runs: Runs,
        clock: Callable[[], float],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._engine = engine
        self._runs = runs
        self._clock = clock
        self._sleep = sleep
        self._pace_s = sum(fault.seconds for fault in faults if fault.kind == "pace")
        serial = any(fault.kind == "serial-lanes" for fault in faults)
        self._turn: threading.Lock | None = threading.Lock() if serial else None

    @property
    def one_query_per_run(self) -> bool:
        """See Engine."""
        return self._engine.one_query_per_run

    def outlook(self, query: str, products: Sequence[Product]) -> Outlook:
        """See Engine."""
        return self._engine.outlook(query, products)

    def prepare_query(self, query: str) -> QueryState:
        """See Engine."""
        return self._in_turn(lambda: self._engine.prepare_query(query))

    def recall_products(self, products: Sequence[Product]) -> Sequence[ProductState | Fresh]:
        """See Engine."""
        return self._in_turn(lambda: self._engine.recall_products(products))

    def encode_products(self, products: Sequence[Fresh]) -> Sequence[ProductState]:
        """See Engine."""
        return self._in_turn(lambda: self._engine.encode_products(products))

    def prepare_products(self, products: Sequence[Product]) -> Sequence[ProductState]:
        """See Engine."""
        return self._engine.prepare_products(products)

    def pair_tokens(self, query: QueryState, product: ProductState) -> int:
        """See Engine."""
        return self._engine.pair_tokens(query, product)

    def kept(self) -> Kept:
        """See Engine."""
        return self._engine.kept()

    def forget(self) -> None:
        """See Engine."""
        self._engine.forget()

    def score_pairs(self, pairs: Pairs) -> NDArray[np.float32]:
        """See Engine; raises, hangs or lies where that is planted."""
        return self._in_turn(lambda: self._score(pairs))

    def _score(self, pairs: Pairs) -> NDArray[np.float32]:
        started = self._clock()
        met = self._runs.next()
        for fault in met:
            match fault.kind:
                case "lane-hung":
                    self._sleep(fault.seconds)
                case "lane-killed":
                    raise PlantedLaneDeath("planted: this lane ends here")
                case "exception":
                    raise PlantedModelError("[ONNXRuntimeError] : planted")
        logits = self._engine.score_pairs(pairs)
        if any(fault.kind == "nan" for fault in met):
            logits = np.full_like(logits, np.nan)
        left_s = self._pace_s - (self._clock() - started)
        if left_s > 0:
            self._sleep(left_s)
        return logits

    def _in_turn(self, work: Callable[[], T]) -> T:
        if self._turn is None:
            return work()
        with self._turn:
            return work()
