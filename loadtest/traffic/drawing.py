"""Requests drawn as a shop sends them: real queries with a Zipf head and a long tail, candidates from a catalogue.

A request is kept as numbers of products and put together when it is asked for, so that a hundred thousand of 64
products take tens of megabytes beside the catalogue. All is drawn beforehand, by seed.
"""

import random
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ..errors import TrafficError
from .catalogue import OVERSAMPLING, Catalogue, candidates
from .requests import ScoreRequest, compact_json, request_body, slim_product
from .sizes import Sizes
from .zipf import zipf_weights

_CACHED_QUERIES = 4096
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Shop:
    """What requests are drawn from."""

    queries: Mapping[str, int]
    """How often each was asked as far as is known: the most frequent is the head, the seed orders equals."""
    catalogue: Catalogue
    source: str
    """In words."""


@dataclass(frozen=True, slots=True)
class Law:
    """How they are drawn."""

    sizes: Sizes
    exponent: float
    """The query of rank r comes with a probability in proportion to r ** -exponent."""
    repeat_share: float
    """Requests that are byte for byte one that came before, drawn from all before."""
    seed: int


class DrawnRequests:
    """Requests, in the order in which they are sent."""

    def __init__(self, shop: Shop, queries: Sequence[str], drawn: Sequence[tuple[int, bytes]]) -> None:
        self._shop = shop
        self._queries = queries
        self._drawn = drawn
        used = {index for _, packed in drawn for index in _unpacked(packed)}
        self._slim = {index: slim_product(shop.catalogue.products[index]) for index in used}
        self._bodies = {index: compact_json(product) for index, product in self._slim.items()}

    def __len__(self) -> int:
        return len(self._drawn)

    def request(self, number: int) -> ScoreRequest:
        """The request of that number, put together."""
        query, packed = self._drawn[number]
        indices = _unpacked(packed)
        body = request_body(self._queries[query], [self._bodies[index] for index in indices])
        return ScoreRequest(self._queries[query], [self._slim[index] for index in indices], body)

    def all(self) -> list[ScoreRequest]:
        """Every request; as large as their bodies together."""
        return [self.request(number) for number in range(len(self))]

    @property
    def repeats(self) -> int:
        """Requests that are exactly one that came before."""
        return len(self._drawn) - len(set(self._drawn))

    @property
    def asked(self) -> int:
        """Different queries."""
        return len({query for query, _ in self._drawn})

    @property
    def head_share(self) -> float:
        """Share of the requests that have the most frequent query; 0 of none."""
        counts: dict[int, int] = {}
        for query, _ in self._drawn:
            counts[query] = counts.get(query, 0) + 1
        return max(counts.values(), default=0) / max(1, len(self._drawn))

    @property
    def products(self) -> int:
        """Different products."""
        return len(self._bodies)


def draw_requests(shop: Shop, law: Law, sizes: Sequence[int | None]) -> DrawnRequests:
    """One request for each entry of `sizes`: of so many products, or where it is None of as many as the law draws.

    Equal arguments give equal requests, and more `sizes` go on where fewer end. What is not drawn as a repeat is none,
    unless queries and products are too few to tell apart.

    Raises:
        TrafficError: the catalogue has fewer products than a request should.
    """
    stock = len(shop.catalogue.products)
    most = max([law.sizes.most if None in sizes else 0, *(size for size in sizes if size is not None)])
    if most > stock:
        raise TrafficError(f"{shop.source}: expected at least {most} products for requests of so many, found {stock}")
    queries = _ranked(shop.queries, law.seed)
    weights = zipf_weights(len(queries), law.exponent)
    drawn_random = random.Random(f"drawn requests {law.seed}")

    @lru_cache(_CACHED_QUERIES)
    def best_of(query: int) -> "array[int]":
        return array("I", shop.catalogue.neighbours(queries[query], OVERSAMPLING * most))

    drawn: list[tuple[int, bytes]] = []
    of_size: dict[int, list[int]] = {}
    known: set[tuple[int, bytes]] = set()
    for asked in sizes:
        earlier = range(len(drawn)) if asked is None else of_size.get(asked, [])
        if earlier and drawn_random.random() < law.repeat_share:
            request = drawn[drawn_random.choice(earlier)]
        else:
            size = law.sizes.draw(drawn_random) if asked is None else asked
            for _ in range(_TRIES):
                query = drawn_random.choices(range(len(queries)), cum_weights=weights)[0]
                best = best_of(query)[: OVERSAMPLING * size]
                request = (query, array("I", candidates((), best, stock, size, drawn_random)).tobytes())
                if request not in known:
                    break
            known.add(request)
        of_size.setdefault(len(_unpacked(request[1])), []).append(len(drawn))
        drawn.append(request)
    return DrawnRequests(shop, queries, drawn)


def _ranked(queries: Mapping[str, int], seed: int) -> list[str]:
    """The most frequent first; the seed decides among equals."""
    shuffled = random.Random(f"query ranks {seed}").sample(list(queries), len(queries))
    return sorted(shuffled, key=lambda query: -queries[query])


def _unpacked(packed: bytes) -> "array[int]":
    return array("I", packed)
