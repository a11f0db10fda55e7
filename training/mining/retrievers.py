"""The two retrievers: BM25 over words, and exact search by cosine over vectors that lie on disk."""

from array import array
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import cast

import bm25s
import numpy as np
from numpy.typing import NDArray

from ..data import normalise_query

PRODUCTS_TOGETHER = 16384
QUERIES_TOGETHER = 256


class Words:
    """BM25 over texts (bm25s: scores of every word and text, computed ahead)."""

    def __init__(self, texts: Iterable[str]) -> None:
        vocabulary: dict[str, int] = {}
        ids = [  # arrays of 4 bytes a word: lists of a million texts hold twice the memory
            array("i", [vocabulary.setdefault(word, len(vocabulary)) for word in normalise_query(text).split()])
            for text in texts
        ]
        self._vocabulary = vocabulary
        self._index = bm25s.BM25()
        if vocabulary:
            self._index.index((ids, vocabulary), create_empty_token=False, show_progress=False)

    def search(self, query: str, depth: int) -> list[int]:
        """Positions of at most `depth` texts that share a word with the query, best first; of equals, the first."""
        ids = [self._vocabulary[word] for word in normalise_query(query).split() if word in self._vocabulary]
        if not ids:
            return []
        scores = np.asarray(self._index.get_scores_from_ids(ids), np.float32)
        sharing = np.flatnonzero(scores > 0)
        if len(sharing) > depth:
            least = np.partition(scores[sharing], len(sharing) - depth)[len(sharing) - depth]
            sharing = sharing[scores[sharing] >= least]
        order = np.argsort(-scores[sharing], kind="stable")[:depth]
        return cast(list[int], sharing[order].tolist())


def nearest(queries: NDArray[np.float32], vectors: NDArray[np.float16], depth: int) -> NDArray[np.int64]:
    """Positions of the best products by cosine, shape (queries, min(depth, products)), best first.

    Looks at all products, a part of them at a time: memory does not grow with their number.

    Args:
        queries: unit vectors, shape (queries, width).
        vectors: unit vectors of the products, shape (products, width); may be mapped from disk.
        depth: how many products a query gets.
    """
    parts = [
        _nearest(queries[start : start + QUERIES_TOGETHER], vectors, min(depth, len(vectors)))
        for start in range(0, len(queries), QUERIES_TOGETHER)
    ]
    return np.concatenate(parts) if parts else np.empty((0, min(depth, len(vectors))), np.int64)


def _nearest(queries: NDArray[np.float32], vectors: NDArray[np.float16], depth: int) -> NDArray[np.int64]:
    scores = np.empty((len(queries), 0), np.float32)
    positions = np.empty((len(queries), 0), np.int64)
    for start in range(0, len(vectors), PRODUCTS_TOGETHER):
        block = np.asarray(vectors[start : start + PRODUCTS_TOGETHER], np.float32)
        of_block, columns = _best(queries @ block.T, depth)
        scores = np.concatenate([scores, of_block], axis=1)
        positions = np.concatenate([positions, columns + start], axis=1)
        scores, kept = _best(scores, depth)
        positions = np.take_along_axis(positions, kept, axis=1)
    order = np.lexsort((positions, -scores), axis=1)
    return np.take_along_axis(positions, order, axis=1)


def _best(scores: NDArray[np.float32], depth: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The `depth` greatest scores of each row and their columns, in no order."""
    width = scores.shape[1]
    if width <= depth:
        return scores, np.broadcast_to(np.arange(width), scores.shape)
    columns: NDArray[np.int64] = np.argpartition(scores, width - depth, axis=1)[:, width - depth :]
    return np.take_along_axis(scores, columns, axis=1), columns


def matches(by_words: Sequence[int], by_vectors: Sequence[int], count: int) -> list[int]:
    """The best matches of a query: the best of either retriever, then the second best, and so on."""
    ranks = zip_longest(by_words[:count], by_vectors[:count])
    merged = (j for rank in ranks for j in rank if j is not None)
    return list(dict.fromkeys(merged))[:count]
