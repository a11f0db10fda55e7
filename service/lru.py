"""A cache bounded in bytes, least recently used first out. Knows nothing of what it holds."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_BYTES = 200
"""What the dictionary and the objects around an entry take, beside its key's text and its value."""


class BoundedLru(Generic[K, V]):
    """Safe to use from several threads.

    Args:
        max_bytes: bound of all entries together.
        size_of: estimates what an entry takes in memory, in bytes.
        least_entries: an entry over this part of the bound is not kept: one absurd product must not push out a thousand
            common ones.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[K, V], int], least_entries: int = 100) -> None:
        self.max_bytes = max_bytes
        self._largest = max_bytes // least_entries
        self._size_of = size_of
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes_used = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get_many(self, keys: Sequence[K]) -> list[V | None]:
        """The value under each key, None where there is none."""
        found: list[V | None] = []
        with self._lock:
            # In one loop: a call for each key would take as long as the look-ups.
            find, use = self._entries.get, self._entries.move_to_end
            for key in keys:
                entry = find(key)
                if entry is None:
                    found.append(None)
                else:
                    use(key)
                    found.append(entry[0])
        return found

    def put_many(self, keys: Sequence[K], values: Sequence[V]) -> None:
        """Stores values under keys that have none, and drops the least recently used entries over the bound."""
        with self._lock:
            for key, value in zip(keys, values, strict=True):
                self._put(key, value)
            while self.bytes_used > self.max_bytes:
                _, (_, size) = self._entries.popitem(last=False)
                self.bytes_used -= size

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._entries.clear()
            self.bytes_used = 0

    def _put(self, key: K, value: V) -> None:
        if key in self._entries:
            return
        size = self._size_of(key, value)
        if size > self._largest:
            return
        self._entries[key] = (value, size)
        self.bytes_used += size
