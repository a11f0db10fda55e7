"""Candidates of a judged query in the controlled world: found by words and by meaning, of the same type, at random, so
that telling them apart takes more than the type."""

from collections.abc import Callable, Iterator, Sequence

import bm25s
import numpy as np
from numpy.typing import NDArray

from ..data import normalise_query
from .queries import WorldProduct
from .truth import Intent, true_grade

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts to unit vectors, shape (texts, width)."""
_DEPTH = 60


class Finder:
    """Finds candidates in a catalogue.

    Words are looked for in titles and descriptions, meaning in titles.

    Args:
        products: the catalogue.
        encode: a sentence encoder.
    """

    def __init__(self, products: Sequence[WorldProduct], encode: Encode) -> None:
        self.products = products
        self._words = bm25s.BM25()
        self._words.index([_split(f"{p.title}. {p.description}") for p in products], show_progress=False)
        self._vectors = encode([product.title for product in products])
        self._by_type: dict[str, list[int]] = {}
        for i, product in enumerate(products):
            self._by_type.setdefault(product.type, []).append(i)

    def candidates(
        self,
        query: str,
        vector: NDArray[np.float32],
        intent: Intent,
        source: int,
        count: int,
        random: np.random.Generator,
    ) -> list[WorldProduct]:
        """`count` different products, shuffled: the one that the query was made from, of the rest three tenths each by
        words, by meaning and of the same type (partly right ones first), the others at random."""
        found = dict.fromkeys([source])
        each = max(1, 3 * count // 10)
        for ranked in self._rankings(query, vector, intent, random):
            fresh = (i for i in ranked if i not in found)
            found.update(dict.fromkeys([i for i, _ in zip(fresh, range(each), strict=False)]))
        for i in random.permutation(len(self.products)).tolist():
            if len(found) >= count:
                break
            found.setdefault(i)
        return [self.products[i] for i in random.permutation(list(found)[:count])]

    def _rankings(
        self, query: str, vector: NDArray[np.float32], intent: Intent, random: np.random.Generator
    ) -> Iterator[list[int]]:
        depth = min(_DEPTH, len(self.products))
        by_words, _ = self._words.retrieve([_split(query)], k=depth, show_progress=False)
        yield by_words[0].tolist()
        yield np.argsort(-(self._vectors @ vector), kind="stable")[:depth].tolist()
        same = random.permutation(self._by_type[intent.type]).tolist()
        grades = [true_grade(intent, intent.type, self.products[i].facets) for i in same]
        partly = [i for i, grade in zip(same, grades, strict=True) if grade > 1]
        rest = [i for i, grade in zip(same, grades, strict=True) if grade <= 1]
        # right and wrong ones of the same type in turn
        yield [i for pair in zip(partly, rest, strict=False) for i in pair] + same


def _split(text: str) -> list[str]:
    return normalise_query(text).split() or [""]
