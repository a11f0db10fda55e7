"""Near misses: products that equal a match in all but one of brand, colour, size and model."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from .attributes import Attributes
from .products import digest

MISSES = ("brand", "color", "size", "model")
LOOKED_AT = 64
_COLUMNS = ("kind", *MISSES)
# odd, so that no bit of a value is lost, and one a column, so that values do not change places
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F], np.uint64
)


class NearMisses:
    """An inverted index: for each attribute, which products agree in all others. 64 bytes or so a product."""

    def __init__(self, attributes: Iterable[Attributes]) -> None:
        rows = [np.array(_values(entry), np.uint64) for entry in attributes]
        self._values: NDArray[np.uint64] = np.stack(rows) if rows else np.empty((0, len(_COLUMNS)), np.uint64)
        whole = (self._values * _FACTORS).sum(axis=1, dtype=np.uint64)
        self._keys: dict[str, NDArray[np.uint64]] = {}
        self._order: dict[str, NDArray[np.int32]] = {}
        for miss in MISSES:
            column = _COLUMNS.index(miss)
            others = whole - self._values[:, column] * _FACTORS[column]
            order = np.argsort(others, kind="stable").astype(np.int32)
            self._keys[miss], self._order[miss] = others[order], order

    def of(self, position: int, miss: str) -> NDArray[np.int32]:
        """Positions of the products that equal the one at `position` but for `miss`, in ascending order.

        There are none where the product itself does not say what its type or `miss` is: then no other is known to
        differ.
        """
        column = _COLUMNS.index(miss)
        own = self._values[position : position + 1]
        if not own[0, 0] or not own[0, column]:
            return np.empty(0, np.int32)
        key = (own * _FACTORS).sum(axis=1, dtype=np.uint64) - own[:, column] * _FACTORS[column]
        start, stop = (int(np.searchsorted(self._keys[miss], key, side)[0]) for side in ("left", "right"))
        group = self._order[miss][start:stop]
        theirs = self._values[group, column]
        return np.sort(group[(theirs != own[0, column]) & (theirs != 0)])

    def ranked(
        self, matches: Sequence[int], vectors: NDArray[np.float16], random: np.random.Generator
    ) -> Iterator[tuple[int, str]]:
        """Near misses of matches as (position, attribute missed), the nearest of every attribute first.

        Args:
            matches: positions of the best matches, best first.
            vectors: unit vectors of all products, shape (products, width), that tell which near miss is nearest.
            random: draws the order of attributes, and which to look at where there are many.
        """
        for match in matches:
            found = []
            for miss in random.permutation(MISSES).tolist():
                group = self.of(match, miss)
                if len(group) > LOOKED_AT:
                    group = np.sort(random.choice(group, LOOKED_AT, replace=False))
                cosines = vectors[group].astype(np.float32) @ vectors[match].astype(np.float32)
                found.append([(int(j), miss) for j in group[np.argsort(-cosines, kind="stable")]])
            for one_each in zip_longest(*found):
                yield from (entry for entry in one_each if entry is not None)


def _values(attributes: Attributes) -> list[int]:
    texts = (
        attributes.kind,
        attributes.brand,
        ",".join(attributes.colours),
        ",".join(attributes.sizes),
        ",".join(attributes.models),
    )
    return [digest(text) if text else 0 for text in texts]
