"""Product text -> product state, bounded in bytes. One artifact per cache."""

import sys
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from artifact.product_states import ProductState

from .lru import ENTRY_BYTES, BoundedLru

Key = tuple[str | None, ...]
"""The texts of a product in the fields that the template reads, as the caller sent them."""

STATE_BYTES = 192
"""The state's object and its number, the key's tuple, what malloc adds, beside what every entry takes."""

LEAST_ENTRIES = 10
"""What takes more than this part of the cache is not kept; states are bounded by the template, unlike texts."""

ARRAY_BYTES = 144
"""An array's object and shape, its numbers left out."""


class StateCache:
    """States under the texts that they were made from: a hit needs neither rendering nor hashing of a product's text.

    Safe to use from several threads.

    Args:
        max_bytes: bound of all entries together, as an estimate of what they take of this process's memory.
    """

    def __init__(self, max_bytes: int) -> None:
        self._states: BoundedLru[Key, ProductState] = BoundedLru(max_bytes, entry_bytes, LEAST_ENTRIES)

    def __len__(self) -> int:
        return len(self._states)

    @property
    def max_bytes(self) -> int:
        """Bound of `bytes_used`."""
        return self._states.max_bytes

    @property
    def bytes_used(self) -> int:
        """Estimate of what all entries take."""
        return self._states.bytes_used

    def get_many(self, keys: Sequence[Key]) -> list[ProductState | None]:
        """The state under each key, None where there is none."""
        return self._states.get_many(keys)

    def keep(self, keys: Sequence[Key], states: Sequence[ProductState]) -> list[ProductState]:
        """Stores states, and returns for each key the one to use: that which was stored first.

        Two requests that miss a product at the same time both encode it, and then use the same state.
        """
        self._states.put_many(keys, states)
        first = self._states.get_many(keys)
        return [own if kept is None else kept for own, kept in zip(states, first, strict=True)]

    def clear(self) -> None:
        """Forgets everything."""
        self._states.clear()


def entry_bytes(key: Key, state: ProductState) -> int:
    """What an entry takes of memory, in bytes. Its arrays are its own."""
    texts = sum(sys.getsizeof(text) for text in key if text is not None)
    return ENTRY_BYTES + STATE_BYTES + texts + sum(map(_array_bytes, (state.tokens, state.scales, state.pooled)))


def _array_bytes(array: NDArray[Any]) -> int:
    return ARRAY_BYTES + array.nbytes
