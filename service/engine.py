"""The whole contract between the scheduler and a model.

A model works in three stages. The first two prepare what depends on one text alone, so that an architecture may cache
or share it; the third joins them. The scheduler calls all three from its lanes and looks into none of the states.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from artifact import Product

QueryState = Any
ProductState = Any


class Engine(Protocol):
    """A model that scores pairs. Every method may be called from several threads at once."""

    def prepare_query(self, query: str) -> QueryState:
        """The per-query stage: for a cross-encoder, its token ids."""
        ...

    def prepare_products(self, products: Sequence[Product]) -> Sequence[ProductState]:
        """The per-product stage: one state per product, in order."""
        ...

    def guess_pair_tokens(self, query: str, products: Sequence[Product]) -> float:
        """The mean of the pairs' tokens before anything is prepared, for predictions. Called on the event loop.

        It has to cost microseconds and need not be right: what it is off by on average is learned.
        """
        ...

    def pair_tokens(self, query: QueryState, product: ProductState) -> int:
        """What a pair costs the pair stage, in tokens, at least 1: the planner's unit."""
        ...

    def forget(self) -> None:
        """Frees what it keeps of earlier requests, such as caches: memory is short."""
        ...

    def score_pairs(self, pairs: Sequence[tuple[QueryState, ProductState]]) -> NDArray[np.float32]:
        """The pair stage: one logit per pair, shape (len(pairs),), in order.

        A logit depends on its pair alone, not on its neighbours. It may be NaN or infinite: the caller checks.
        """
        ...
