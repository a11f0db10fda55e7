"""Product text -> token ids, bounded in bytes, least recently used first out. One artifact per cache."""

import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Key = tuple[str | None, ...]
TokenIds = NDArray[np.int64]

ENTRY_BYTES = 200
"""What the dictionary and the objects around an entry take, beside text and ids."""


class TokenCache:
    """Safe to use from several threads.

    Args:
        max_bytes: bound of all keys and values together, as an estimate of what they take in memory. An entry over
            a hundredth of it is not kept: one absurd product must not push out a thousand common ones.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, tuple[TokenIds, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes_used = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get_many(self, keys: Sequence[Key]) -> list[TokenIds | None]:
        """The ids under each key, None where there are none."""
        with self._lock:
            return [self._get(key) for key in keys]

    def put_many(self, keys: Sequence[Key], values: Sequence[TokenIds]) -> None:
        """Stores ids under their keys, and drops the least recently used entries over the bound."""
        with self._lock:
            for key, value in zip(keys, values, strict=True):
                self._put(key, value)
            while self.bytes_used > self._max_bytes:
                _, (_, size) = self._entries.popitem(last=False)
                self.bytes_used -= size

    def _get(self, key: Key) -> TokenIds | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def _put(self, key: Key, value: TokenIds) -> None:
        size = ENTRY_BYTES + value.nbytes + sum(sys.getsizeof(text) for text in key if text is not None)
        if key in self._entries or size > self._max_bytes // 100:
            return
        self._entries[key] = (value, size)
        self.bytes_used += size
