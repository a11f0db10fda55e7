"""Where a product's state comes from: memory, else the states file. What is in neither has to be encoded."""

import logging
import math
import threading
from collections.abc import Sequence

from artifact import InputTemplate, Product
from artifact.product_states import ProductState, own_copy, state_key
from artifact.states_file import StatesFile

from .engine import Kept
from .metrics import Metrics
from .state_cache import Key, StateCache

log = logging.getLogger(__name__)

SAMPLE_PRODUCTS = 4
"""Of a request, whose presence in the file its prediction goes by: each costs about 10 microseconds."""

SHARE_PRODUCTS = 256
"""Products not in memory after which what was seen of the file has lost two thirds of its weight."""


class StateStore:
    """Safe to use from several threads.

    Args:
        version: `states_version` of the model.
        template: says which texts of a product count.
        cache_bytes: bound of the states in memory; 0 for none.
        metrics: told where states came from.
    """

    def __init__(self, version: str, template: InputTemplate, cache_bytes: int, metrics: Metrics) -> None:
        self._version = version
        self._template = template
        self._fields = tuple(field.name for field in template.fields)
        self._cache = StateCache(cache_bytes) if cache_bytes else None
        self._file: StatesFile | None = None
        self._corrupted = metrics.corrupted_states
        self._corrupted_seen = 0
        self._told = False
        self._from_memory, self._from_file = (metrics.product_states.labels(source) for source in ("memory", "file"))
        self._hits, self._misses = (metrics.cache_lookups.labels("state", result) for result in ("hit", "miss"))
        self._lock = threading.Lock()
        self.fresh_share = 1.0

    def read_from(self, file: StatesFile) -> None:
        """Looks for states in this file too, from here on."""
        self._file = file
        # The catalogue's own file: until it is seen otherwise, it has what memory has not.
        self.fresh_share = 0.0

    def keys(self, products: Sequence[Product]) -> list[Key]:
        """What the states of products are kept under in memory."""
        fields = self._fields
        return [tuple(map(product.get, fields)) for product in products]

    def in_memory(self, keys: Sequence[Key]) -> list[ProductState | None]:
        """The states that memory has."""
        return self._cache.get_many(keys) if self._cache is not None else [None] * len(keys)

    def find(self, keys: Sequence[Key], products: Sequence[Product]) -> list[ProductState | None]:
        """The states that memory or the file has. What was in the file is in memory from here on."""
        found = self.in_memory(keys)
        missing = [i for i, state in enumerate(found) if state is None]
        self._from_memory.inc(len(found) - len(missing))
        if self._cache is not None:
            self._hits.inc(len(found) - len(missing))
            self._misses.inc(len(missing))
        if self._file is None or not missing:
            return found
        read = self._read(self._file, [products[i] for i in missing])
        there = [(i, state) for i, state in zip(missing, read, strict=True) if state is not None]
        self._from_file.inc(len(there))
        kept = self._keep_copies([keys[i] for i, _ in there], [state for _, state in there])
        for (i, _), state in zip(there, kept, strict=True):
            found[i] = state
        self._learn(len(missing) - len(there), len(missing))
        return found

    def expected_fresh_share(self, unknown: Sequence[Product]) -> float:
        """The share of products not in memory that are likely not in the file either.

        Half of it is what a few of these say, looked up; the other half what was seen lately, of which they become a
        part: requests that are refused for it correct it too.
        """
        if self._file is None or not unknown:
            return self.fresh_share
        asked = unknown[:: -(-len(unknown) // SAMPLE_PRODUCTS)]
        fresh = self._read(self._file, asked).count(None)
        self._learn(fresh, len(asked))
        return (fresh / len(asked) + self.fresh_share) / 2

    def _learn(self, fresh: int, products: int) -> None:
        faded = math.exp(-products / SHARE_PRODUCTS)
        self.fresh_share = self.fresh_share * faded + fresh / products * (1.0 - faded)

    def _keep_copies(self, keys: Sequence[Key], states: Sequence[ProductState]) -> Sequence[ProductState]:
        """As `keep`. What stays in memory is as it was checked, whatever becomes of the file."""
        return self.keep(keys, [own_copy(state) for state in states]) if self._cache is not None else states

    def keep(self, keys: Sequence[Key], states: Sequence[ProductState]) -> Sequence[ProductState]:
        """Stores states in memory, and returns those to use: of two of one product the first."""
        return self._cache.keep(keys, states) if self._cache is not None else states

    def kept(self) -> Kept:
        """What is in memory."""
        if self._cache is None:
            return Kept(0, 0, "state")
        return Kept(len(self._cache), self._cache.bytes_used, "state", self._cache.max_bytes)

    def clear(self) -> None:
        """Empties the memory."""
        if self._cache is not None:
            self._cache.clear()

    def _read(self, file: StatesFile, products: Sequence[Product]) -> list[ProductState | None]:
        states = file.get_many([state_key(self._version, self._template, product) for product in products])
        if file.corrupted != self._corrupted_seen:
            with self._lock:
                more, self._corrupted_seen = file.corrupted - self._corrupted_seen, file.corrupted
                told, self._told = self._told, True
            self._corrupted.inc(more)
            if not told:
                log.error(
                    "damaged records in a states file are skipped, and their products encoded instead; a metric counts",
                    extra={"fields": {"file": str(file.path), "records": more}},
                )
        return states
