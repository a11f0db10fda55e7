"""What a service of our contract tells of itself in /metrics."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException

from ..client import Connection

_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*(?:\{[^}]*\})?) (\S+)")

Counters = Mapping[str, float]

SOURCES = ("memory", "file", "fresh")
"""Where a split model's product states come from."""


def read_counters(connection: Connection) -> Counters:
    """Values by sample, labels included, as Prometheus' text format writes them; empty where there are none."""
    try:
        connection.refresh()
        reply = connection.request("GET", "/metrics")
    except (OSError, HTTPException):
        return {}
    if reply.status != 200:
        return {}
    found = {}
    for line in reply.body.decode("utf-8", "replace").splitlines():
        sample = _SAMPLE.fullmatch(line.strip())
        if sample and not line.startswith("#"):
            found[sample[1]] = float(sample[2])
    return found


def hits_and_lookups(after: Counters, before: Counters, cache: str) -> tuple[float, float] | None:
    """(hits, lookups) of a cache, `score` or `token`, between two readings; None where nothing is counted."""
    name = "shelfscore_cache_lookups_total"
    hit, miss = (f'{name}{{cache="{cache}",result="{result}"}}' for result in ("hit", "miss"))
    if hit not in after or miss not in after:
        return None
    hits = after[hit] - before.get(hit, 0.0)
    return hits, hits + after[miss] - before.get(miss, 0.0)


@dataclass(frozen=True, slots=True)
class Found:
    """What a server had already of what it was asked, as it counted between two readings."""

    lookups: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """(hits, lookups) by cache, `score` and `token`; without those that counted nothing."""
    states: Mapping[str, float] = field(default_factory=dict)
    """Product states that a split model used, by source; empty where none were."""

    @classmethod
    def between(cls, after: Counters, before: Counters) -> "Found":
        """Of two readings."""
        lookups = {cache: hits_and_lookups(after, before, cache) for cache in ("score", "token")}
        samples = {source: f'shelfscore_product_states_total{{source="{source}"}}' for source in SOURCES}
        states = {source: after.get(name, 0.0) - before.get(name, 0.0) for source, name in samples.items()}
        return cls(
            {cache: counted for cache, counted in lookups.items() if counted and counted[1]},
            states if any(states.values()) else {},
        )

    @classmethod
    def together(cls, parts: Iterable["Found"]) -> "Found":
        """The sums."""
        lookups: dict[str, tuple[float, float]] = {}
        states: dict[str, float] = {}
        for part in parts:
            for cache, (hits, count) in part.lookups.items():
                before = lookups.get(cache, (0.0, 0.0))
                lookups[cache] = (before[0] + hits, before[1] + count)
            for source, count in part.states.items():
                states[source] = states.get(source, 0.0) + count
        return cls(lookups, states)

    @property
    def hits(self) -> dict[str, float]:
        """Share of lookups that hit, by cache."""
        return {cache: hits / count for cache, (hits, count) in self.lookups.items()}

    @property
    def state_shares(self) -> dict[str, float]:
        """Share of product states by source; empty where none were used."""
        return {source: count / sum(self.states.values()) for source, count in self.states.items()}

    @property
    def in_memory(self) -> float | None:
        """Share of products of which memory had the state, or a cross-encoder's token ids; None where none says."""
        return self.state_shares["memory"] if self.states else self.hits.get("token")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a server keeps of products in memory, by its own count."""

    products: int
    bytes: int

    @classmethod
    def of(cls, counters: Counters) -> "Kept | None":
        """None where it does not say."""
        names = ("shelfscore_kept_products", "shelfscore_kept_bytes")
        if not all(name in counters for name in names):
            return None
        return cls(*(int(counters[name]) for name in names))
