"""(query, product texts that the template reads) -> logit, bounded in bytes. One loaded model per cache."""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from artifact import Product

from .lru import ENTRY_BYTES, BoundedLru
from .metrics import Metrics

Key = tuple[str | None, ...]

LOGIT_BYTES = 120
"""The number, the key's tuple and its slots, beside what every entry takes."""


class ScoreCache:
    """Logits of pairs already scored. Safe to use from several threads.

    The key is the text itself, not a digest of it: an answer from here is never another pair's. Non-finite logits are
    not kept, so that a passing fault of the model does not outlive its cause.

    Args:
        max_bytes: bound of all keys and values together, as an estimate of what they take in memory.
        fields: the product fields that the model's template reads.
        metrics: told of hits and misses.
    """

    def __init__(self, max_bytes: int, fields: Sequence[str], metrics: Metrics) -> None:
        self._logits: BoundedLru[Key, float] = BoundedLru(max_bytes, _entry_bytes)
        self._fields = tuple(fields)
        self._hits, self._misses = (metrics.cache_lookups.labels("score", result) for result in ("hit", "miss"))

    def __len__(self) -> int:
        return len(self._logits)

    @property
    def max_bytes(self) -> int:
        """Bound of `bytes_used`."""
        return self._logits.max_bytes

    @property
    def bytes_used(self) -> int:
        """Estimate of what all entries take."""
        return self._logits.bytes_used

    def clear(self) -> None:
        """Forgets everything."""
        self._logits.clear()

    def keys(self, query: str, products: Sequence[Product]) -> list[Key]:
        """What each pair's logit is kept under."""
        return [(query, *map(product.get, self._fields)) for product in products]

    def look_up(self, keys: Sequence[Key]) -> NDArray[np.float32]:
        """The logit of each pair, NaN where it is not known; shape (len(keys),)."""
        found = self._logits.get_many(keys)
        logits = np.array([np.nan if logit is None else logit for logit in found], dtype=np.float32)
        misses = int(np.count_nonzero(np.isnan(logits)))
        self._hits.inc(len(keys) - misses)
        self._misses.inc(misses)
        return logits

    def keep(self, keys: Sequence[Key], logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stores logits, and returns the logit to answer with for each pair: the one that was stored first.

        The same pair scored twice at once, or twice in one request, differs in the last bits with its neighbours in
        the micro-batch; all its callers get the same ones.
        """
        finite = np.flatnonzero(np.isfinite(logits)).tolist()
        kept_keys = [keys[i] for i in finite]
        own = logits[finite].tolist()
        self._logits.put_many(kept_keys, own)
        first = self._logits.get_many(kept_keys)
        answers = logits.copy()
        answers[finite] = [mine if kept is None else kept for mine, kept in zip(own, first, strict=True)]
        return answers


def _entry_bytes(key: Key, _: float) -> int:
    return ENTRY_BYTES + LOGIT_BYTES + sum(sys.getsizeof(text) for text in key if text is not None)
