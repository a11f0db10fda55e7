"""The dev split: training queries kept apart, by the hash of the query, to choose the epoch and the temperature."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..data import normalise_query
from ..errors import TrainingError

BATCH_QUERIES = 8192

Rows = NDArray[np.int64]


def split_dev(
    queries: pa.ChunkedArray | Sequence[str], share: float, max_pairs: int | None = None
) -> tuple[Rows, Rows]:
    """Rows to train on and dev rows, the same every time and for any order of the pairs.

    The share of queries with the lowest hash is dev, as far as `max_pairs` allow, at least one; spellings of one query
    stay together. Memory: some 40 bytes a pair.

    Args:
        queries: the query of each judged pair of the training split.
        share: of the queries; 0 gives no dev rows.
        max_pairs: how many dev rows there may be, the first query's aside.

    Returns:
        Ascending rows, shape (n,) each.

    Raises:
        TrainingError: there is one query alone.
    """
    column = queries if isinstance(queries, pa.ChunkedArray) else pa.chunked_array([pa.array(queries, pa.string())])
    if not share:
        return np.arange(len(column)), np.arange(0)
    hashes = _hashes(column)
    found, sizes = np.unique(hashes, return_counts=True)
    if len(found) < 2:
        raise TrainingError(
            f"the training split has one query, {column[0].as_py()!r}, and none to spare for dev: "
            "give more judgements, or set teacher.dev.share = 0"
        )
    wanted = min(max(1, round(share * len(found))), len(found) - 1)
    fitting = wanted if max_pairs is None else int(np.searchsorted(np.cumsum(sizes[:wanted]), max_pairs, "right"))
    is_dev = hashes <= found[max(fitting, 1) - 1]
    return np.flatnonzero(~is_dev), np.flatnonzero(is_dev)


def _hashes(queries: pa.ChunkedArray) -> NDArray[np.uint64]:
    """A hash of each query, shape (pairs,), computed once a spelling."""
    coded = queries.combine_chunks().dictionary_encode()
    hashes = np.empty(len(coded.dictionary), np.uint64)
    for start in range(0, len(hashes), BATCH_QUERIES):
        texts = coded.dictionary.slice(start, BATCH_QUERIES).to_pylist()
        hashes[start : start + len(texts)] = [_hash(text) for text in texts]
    by_row: NDArray[np.uint64] = hashes[coded.indices.to_numpy()]
    return by_row


def _hash(query: str) -> int:
    # salted, for the test split is made of the lowest hashes of the plain query
    return int.from_bytes(hashlib.sha256(f"dev {normalise_query(query)}".encode()).digest()[:8])
