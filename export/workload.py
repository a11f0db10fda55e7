"""The micro-batches that speed is measured on: one request of many products, lengths as product search has them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .runtime import MICRO_BATCH, Feeds

SHORTEST, MEAN, LONGEST, SPREAD = 16, 36, 64, 10
"""Tokens of a pair."""
QUERY_TOKENS = 6
FIRST_ID = 1000
"""Below it are special tokens and single characters in BERT's vocabulary."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Random token ids: how long a graph takes does not depend on what they mean.

    Attributes:
        lengths: tokens of each pair, in request order.
        vocab_size: ids stay below it.
    """

    lengths: NDArray[np.int64]
    vocab_size: int
    seed: int = 0

    @classmethod
    def of(cls, pairs: int, vocab_size: int, longest: int = LONGEST, seed: int = 0) -> "Workload":
        """`pairs` lengths from 16 to `longest` tokens, about 36 in the mean."""
        drawn = np.random.default_rng(seed).normal(MEAN, SPREAD, pairs).round()
        return cls(np.clip(drawn, min(SHORTEST, longest), longest).astype(np.int64), vocab_size, seed)

    @property
    def tokens(self) -> int:
        """Real tokens of all pairs."""
        return int(self.lengths.sum())

    def micro_batches(self, size: int = MICRO_BATCH) -> list[Feeds]:
        """Feeds of pairs of like length, longest first, as the service plans them."""
        return self._feeds(np.argsort(-self.lengths, kind="stable"), size)

    def batches(self, size: int) -> list[Feeds]:
        """Feeds in request order, as a server that does not sort makes them."""
        return self._feeds(np.arange(len(self.lengths)), size)

    def _feeds(self, order: NDArray[np.int64], size: int) -> list[Feeds]:
        return [self._batch(self.lengths[order[start : start + size]]) for start in range(0, len(order), size)]

    def _batch(self, lengths: NDArray[np.int64]) -> Feeds:
        position = np.arange(lengths.max())
        mask = (position < lengths[:, None]).astype(np.int64)
        low = min(FIRST_ID, self.vocab_size - 1)
        ids = np.random.default_rng(self.seed).integers(low, self.vocab_size, mask.shape) * mask
        types = mask * (position >= QUERY_TOKENS)
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


class Lanes:
    """Threads that take micro-batches from one list, as the lanes of the service do."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count)

    def run(self, work: Callable[[Feeds], object], batches: Sequence[Feeds]) -> None:
        """Calls `work` on each batch; returns when all are done."""
        for _ in self._pool.map(work, batches):
            pass
