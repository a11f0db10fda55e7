"""Graded pairs without human labels: queries made from a catalogue's attributes, grades by how many of them agree.

A product of another type gets 0, one that has everything that is asked for gets 1, any other the share of the
attributes asked for that it has, the type included: for `acme mouse` an Acme mouse 1, a Globex mouse 0.5, an Acme lamp
0. Such labels teach what fields can tell, and nothing of what shoppers take instead: they are a start, no judgement.
"""

from collections import Counter
from collections.abc import Iterator, Set

import numpy as np
from numpy.typing import NDArray

from ..config import WeakLabels
from ..data import JudgedPair, judged_pairs, loose_key
from ..errors import TrainingError
from ..runs import Run
from .attributes import Attributes, attributes_of, type_of
from .near_misses import MISSES, NearMisses
from .products import BATCH_ROWS, Products, digest
from .queries import excluded_keys, read_pool
from .wishes import agreeing, draw_wish, write_wish

SOURCE = "weak:attributes"
ROUNDS = 4
FEATURE_PRODUCTS = 3


def weak_pairs(run: Run) -> Iterator[JudgedPair]:
    """The weakly labelled pairs of a run: `mining.weak_labels` of its configuration says of which pool, and how many.

    Raises:
        TrainingError: the configuration asks for none, or the pool's products do not say what they are.
    """
    settings = run.config.mining.weak_labels
    if settings is None:
        raise TrainingError(
            "the configuration has no section [mining.weak_labels]: it says from which pool to make graded pairs"
        )
    excluded = excluded_keys(judged_pairs(run))
    products = read_pool(run, settings.pool, judged_pairs(run), excluded)
    yield from weak_labels(products, settings, run.config.seed, excluded)


def weak_labels(
    products: Products, settings: WeakLabels, seed: int, excluded: Set[str] = frozenset()
) -> Iterator[JudgedPair]:
    """Weakly labelled pairs, the pairs of a query together, its source product first; the same for the same seed.

    Args:
        products: the catalogue. Products without a product_type are left out.
        settings: how many queries and how many products a query.
        seed: decides everything that is drawn.
        excluded: loose keys that no query may have.

    Raises:
        TrainingError: fewer than two product types are told apart, or no query can be made.
    """
    catalogue = _Catalogue(products)
    if len(catalogue.kinds) < 2:
        raise TrainingError(
            f"weak labels of pool {settings.pool}: expected products of two or more types, found "
            f"{len(catalogue.kinds)}; map the column that holds the type to `product_type`"
        )
    seen, made = {"", *excluded}, 0
    for turn in range(ROUNDS):
        for source in np.random.default_rng((seed, turn)).permutation(catalogue.typed).tolist():
            if made == settings.queries:
                return
            random = np.random.default_rng((seed, turn, source))
            pairs = catalogue.graded(source, settings.candidates, random)
            if len(pairs) > 1 and loose_key(pairs[0].query) not in seen:
                seen.add(loose_key(pairs[0].query))
                made += 1
                yield from pairs
    if not made:
        raise TrainingError(
            f"weak labels of pool {settings.pool}: no query can be made that the test split does not hold"
        )


class _Catalogue:
    """Products with what is needed to draw a query's candidates: by type, by brand, and near misses."""

    def __init__(self, products: Products) -> None:
        self._products = products
        self._brands = {
            p["brand"].casefold()
            for batch in products.batches(BATCH_ROWS)
            for p in batch
            if len(p.get("brand", "")) > 1
        }
        self._kinds, self._own_brands = np.zeros(len(products), np.uint64), np.zeros(len(products), np.uint64)
        self._counts: Counter[str] = Counter()
        self._near = NearMisses(self._read())
        self.typed: NDArray[np.int64] = np.flatnonzero(self._kinds)
        self.kinds = np.unique(self._kinds[self.typed])
        self._by_kind, self._by_brand = _Groups(self._kinds), _Groups(self._own_brands)

    def _read(self) -> Iterator[Attributes]:
        """The attributes of all products, noting what they are looked up by on the way."""
        everything = (product for batch in self._products.batches(BATCH_ROWS) for product in batch)
        for position, product in enumerate(everything):
            attributes = attributes_of(product, self._brands)
            self._kinds[position] = digest(attributes.kind) if type_of(product) else 0
            self._own_brands[position] = digest(attributes.brand) if attributes.brand else 0
            self._counts.update(attributes.words)
            yield attributes

    def graded(self, source: int, count: int, random: np.random.Generator) -> list[JudgedPair]:
        """A query made from the product at `source` with at most `count` graded products, that one first."""
        positions = self._candidates(source, count, random)
        rows = self._products.take(positions)
        own = attributes_of(rows[0], self._brands)
        wish = draw_wish(own, self._is_feature, random)
        query = write_wish(wish, random)
        pairs: list[JudgedPair] = []
        for product in rows:
            found = agreeing(wish, attributes_of(product, self._brands), product)
            if found is not None and len(pairs) < count:
                pairs.append(
                    JudgedPair(
                        query=query,
                        product=product,
                        grade=f"{found}/{wish.asked}",
                        target=found / wish.asked,
                        source=SOURCE,
                        split="train",
                    )
                )
        return pairs

    def _candidates(self, source: int, count: int, random: np.random.Generator) -> list[int]:
        """Positions, each once: the source, then in turn near misses, its type, its brand, any."""
        near = [int(random.choice(group)) for miss in MISSES if len(group := self._near.of(source, miss))]
        same_kind = _some(self._by_kind.of(self._kinds[source]), count, random)
        brand = self._own_brands[source]
        same_brand = _some(self._by_brand.of(brand), count, random) if brand else []
        anywhere = _some(self.typed, count, random)
        merged = [source]
        for turn in range(count):
            for ranked in (near, same_kind, same_brand, anywhere):
                merged += ranked[turn : turn + 1]
        typed = (j for j in merged if self._kinds[j])
        return list(dict.fromkeys(typed))[: 2 * count]

    def _is_feature(self, word: str) -> bool:
        # a word of few products is a name, a word of most tells nothing
        return FEATURE_PRODUCTS <= self._counts[word] <= len(self._products) // 4 and word.isalpha() and len(word) > 2


class _Groups:
    """Positions by value."""

    def __init__(self, values: NDArray[np.uint64]) -> None:
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]

    def of(self, value: np.uint64) -> NDArray[np.int64]:
        start, stop = (int(np.searchsorted(self._sorted, value, side)) for side in ("left", "right"))
        return self._order[start:stop]


def _some(positions: NDArray[np.int64], count: int, random: np.random.Generator) -> list[int]:
    """At most `count` different positions, drawn."""
    drawn: list[int] = random.choice(positions, min(count, len(positions)), replace=False, shuffle=True).tolist()
    return drawn
