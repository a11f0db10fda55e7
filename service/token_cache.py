"""Product text -> token ids, bounded in bytes. One artifact per cache."""

import sys

import numpy as np
from numpy.typing import NDArray

from .lru import ENTRY_BYTES, BoundedLru

Key = tuple[str | None, ...]
TokenIds = NDArray[np.int64]


class TokenCache(BoundedLru[Key, TokenIds]):
    """Token ids under the texts that they were made from.

    Args:
        max_bytes: bound of all keys and values together, as an estimate of what they take in memory.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes, _entry_bytes)


def _entry_bytes(key: Key, value: TokenIds) -> int:
    return ENTRY_BYTES + value.nbytes + sum(sys.getsizeof(text) for text in key if text is not None)
