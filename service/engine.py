"""The whole contract between the scheduler and a model.

A model works in three stages. The first two prepare what depends on one text alone, so that an architecture may cache
or share it; the third joins them. The scheduler calls all three from its lanes and looks into none of the states.
"""

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from artifact import Product

QueryState = Any
ProductState = Any


@dataclass(frozen=True, slots=True)
class Fresh:
    """A product that has no state yet, and takes about as long to get one as pairs take to be scored.

    Attributes:
        tokens: what it costs to encode it, at least 1: the planner's unit.
        work: what the engine needs for it.
        key: equal for two of the same text, of which one need be encoded.
    """

    tokens: int
    work: Any
    key: Hashable


class Kept(NamedTuple):
    """What an engine keeps of earlier requests.

    Attributes:
        products: of so many products the state, or the token ids.
        bytes: in about so many.
        cache: what kind of cache it is: token, state or score.
        limit_bytes: most that it may take; 0 where it is off.
    """

    products: int
    bytes: int
    cache: str = "token"
    limit_bytes: int = 0


@dataclass(frozen=True)  # without slots, for cached_property
class Outlook:
    """What a request looks like before any of its work is done: what predictions, and its cutting into units, go by.

    Attributes:
        pair_tokens: mean of its pairs' tokens.
        states: of each product the state, where it is at hand, else None. None for engines whose products are all
            alike: each is prepared, and none is costly.
        fresh_share: share of those without a state that have to be encoded, by what was seen lately.
        fresh_tokens: mean of the tokens of a product that has to be encoded.
        query_tokens: of the query's own run through a model; 0 where it needs none.
    """

    pair_tokens: float
    states: Sequence[ProductState | None] | None = None
    fresh_share: float = 0.0
    fresh_tokens: float = 0.0
    query_tokens: float = 0.0

    @cached_property
    def unknown(self) -> Sequence[int]:
        """Positions of the products that have no state at hand, ascending."""
        return [i for i, state in enumerate(self.states or ()) if state is None]

    def unknown_of(self, products: int) -> int:
        """How many of so many first products have no state at hand."""
        return bisect_left(self.unknown, products)


class Engine(Protocol):
    """A model that scores pairs. Every method may be called from several threads at once."""

    @property
    def one_query_per_run(self) -> bool:
        """Whether a run of the pair stage is of one query, and repeats the query's part.

        Then pairs of several queries gain nothing by going together, and those of one by going in many micro-batches.
        """
        ...

    def outlook(self, query: str, products: Sequence[Product]) -> Outlook:
        """What the request looks like before anything is prepared. Called on the event loop.

        It has to cost microseconds. `states` is right; the rest need not be: what it is off by on average is learned.
        """
        ...

    def prepare_query(self, query: str) -> QueryState:
        """The per-query stage: for a cross-encoder, its token ids."""
        ...

    def recall_products(self, products: Sequence[Product]) -> Sequence[ProductState | Fresh]:
        """The cheap part of the per-product stage: states that are at hand, or quickly made. In order.

        What is left has to go through `encode_products`; of a cross-encoder nothing is.
        """
        ...

    def encode_products(self, products: Sequence[Fresh]) -> Sequence[ProductState]:
        """The costly part: the states of products for which `recall_products` had none, in order. One micro-batch."""
        ...

    def prepare_products(self, products: Sequence[Product]) -> Sequence[ProductState]:
        """The per-product stage as a whole, for callers that schedule nothing: one state per product, in order."""
        ...

    def pair_tokens(self, query: QueryState, product: ProductState) -> int:
        """What a pair costs the pair stage, in tokens, at least 1: the planner's unit."""
        ...

    def kept(self) -> Kept:
        """What it keeps of earlier requests."""
        ...

    def forget(self) -> None:
        """Frees what it keeps of earlier requests, such as caches: memory is short."""
        ...

    def score_pairs(self, pairs: Sequence[tuple[QueryState, ProductState]]) -> NDArray[np.float32]:
        """The pair stage: one logit per pair, shape (len(pairs),), in order.

        A logit depends on its pair alone, not on its neighbours. It may be NaN or infinite: the caller checks.
        """
        ...
