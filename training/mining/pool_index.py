"""One mining pool, searchable in every way that its quotas ask for, and the candidates that it gives a query."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..config import Mining, Pool
from ..teacher.similarity import Similarity
from .attributes import attributes_of
from .disagreement import disagreement
from .near_misses import NearMisses
from .products import Products, digest
from .retrievers import Words, matches, nearest
from .vectors import PART, vectors_on_disk

MIDDLE_RANKS = 200
MATCHES = 3

Found = tuple[int, str]
"""A product's position and the way in which it was found."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """What the retrievers say of a query: positions, best first; empty where a pool does not need the retriever."""

    by_words: list[int]
    by_vectors: list[int]


class PoolIndex:
    """A pool's products with the indexes that its quotas need: no vectors are made for BM25 and random alone."""

    def __init__(
        self, name: str, products: Products, settings: Mining, similarity: Similarity, work: Path, number: int = 0
    ) -> None:
        """Builds the indexes; `work` keeps the vectors, under a name of the pool's `number`."""
        self.name = name
        self.products = products
        self.quota: Pool = settings.pools[name]
        self._top, self._beyond = settings.disagree_top, settings.disagree_beyond
        quota = self.quota
        both = bool(quota.near_miss or quota.disagree)
        self.digests = np.fromiter(
            (digest(similarity.product_text(p)) for batch in products.batches(PART) for p in batch),
            np.uint64,
            len(products),
        )
        self._words: Words | None = None
        if quota.bm25 or both:
            self._words = Words(similarity.product_text(p) for batch in products.batches(PART) for p in batch)
        self._near: NearMisses | None = None
        if quota.near_miss:
            brands = {
                p["brand"].casefold() for batch in products.batches(PART) for p in batch if len(p.get("brand", "")) > 1
            }
            self._near = NearMisses(attributes_of(p, brands) for batch in products.batches(PART) for p in batch)
        self._vectors: NDArray[np.float16] | None = None
        if quota.dense or quota.middle or both:
            batches = tqdm(
                products.batches(PART),
                desc=f"encode {name}",
                total=-(-len(products) // PART),
                unit="kproducts",
                dynamic_ncols=True,
            )
            texts = ([similarity.product_text(p) for p in batch] for batch in batches)
            path = work / f"vectors-{number}.f16"
            self._vectors = vectors_on_disk(path, texts, len(products), similarity.encoder)

    def search(self, queries: Sequence[str], vectors: NDArray[np.float32]) -> Iterator[Ranks]:
        """The retrievers' ranks of each query; `vectors` are the queries' unit vectors, shape (queries, width)."""
        quota = self.quota
        depth = max(4 * quota.bm25, MATCHES, self._beyond if quota.disagree else 0)
        dense: list[list[int]] = [[]] * len(queries)
        if self._vectors is not None:
            ranks = MIDDLE_RANKS if not quota.disagree else max(MIDDLE_RANKS, self._beyond)
            dense = cast(list[list[int]], nearest(vectors, self._vectors, ranks).tolist())
        for query, by_vectors in zip(queries, dense, strict=True):
            yield Ranks(self._words.search(query, depth) if self._words else [], by_vectors)

    def draws(self, ranks: Ranks, random: np.random.Generator) -> Iterator[tuple[int, Iterator[Found]]]:
        """(how many are wanted, positions found) for each way; more are found than wanted, for duplicates."""
        quota, words, vectors = self.quota, ranks.by_words, ranks.by_vectors
        yield quota.bm25, ((j, "bm25") for j in words)
        yield quota.dense, ((j, "dense") for j in vectors)
        middle = random.permutation(np.asarray(vectors[quota.dense : MIDDLE_RANKS], np.int64)).tolist()
        yield quota.middle, ((j, "middle") for j in middle)
        anywhere = random.integers(len(self.products), size=4 * quota.random).tolist()
        yield quota.random, ((j, "random") for j in anywhere)
        if self._near is not None and self._vectors is not None:
            missed = self._near.ranked(matches(words, vectors, MATCHES), self._vectors, random)
            yield quota.near_miss, ((j, f"near_miss:{miss}") for j, miss in missed)
        if quota.disagree:
            apart = disagreement(words, vectors, self._top, self._beyond)
            yield quota.disagree, ((j, f"disagree:{high}") for j, high in apart)
