"""Rows grouped by query, as arrays: a metric over millions of rows makes no Python object a row."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Which query each row belongs to.

    Attributes:
        ids: query of each row, from 0 without gaps, shape (rows,).
        names: text of each query, shape (queries,).
    """

    ids: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows of each query, shape (queries,)."""
        return np.bincount(self.ids, minlength=len(self))

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each query's rows begin once rows are sorted by query, shape (queries,)."""
        return np.concatenate(([0], np.cumsum(self.sizes)[:-1])).astype(np.int64)

    def differs(self, values: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Whether a query has two rows whose values, shape (rows,), differ; shape (queries,)."""
        first = np.empty(len(self), dtype=values.dtype)
        first[self.ids[::-1]] = values[::-1]
        return np.bincount(self.ids, weights=values != first[self.ids], minlength=len(self)) > 0

    def subset(self, rows: NDArray[np.bool_]) -> "Subset":
        """The groups of the rows that a mask, shape (rows,), keeps."""
        parents, ids = np.unique(self.ids[rows], return_inverse=True)
        return Subset(Groups(ids.astype(np.int64), tuple(self.names[i] for i in parents)), parents)


@dataclass(frozen=True, slots=True, eq=False)
class Subset:
    """Groups of some of the rows, and which group of the whole each of them is, shape (groups,)."""

    groups: Groups
    parents: NDArray[np.int64]


def group(queries: Sequence[str]) -> Groups:
    """Groups rows by their query, in the order in which queries first appear."""
    encoded = pa.array(queries, pa.string()).dictionary_encode()
    return Groups(np.asarray(encoded.indices, dtype=np.int64), tuple(encoded.dictionary.to_pylist()))
