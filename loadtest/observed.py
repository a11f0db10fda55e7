"""What a service of our contract tells of itself: the stages in Server-Timing, the counters in /metrics."""

import re
from collections.abc import Mapping
from http.client import HTTPException

from .client import Connection
from .errors import ServerError

_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*(?:\{[^}]*\})?) (\S+)")

Counters = Mapping[str, float]


def stages_ms(server_timing: str) -> dict[str, float]:
    """Milliseconds by stage, of a Server-Timing header.

    Raises:
        ServerError: it is none.
    """
    stages = {}
    for entry in server_timing.split(","):
        name, _, duration = entry.strip().partition(";dur=")
        try:
            stages[name] = float(duration)
        except ValueError:
            raise ServerError(f"expected server-timing like 'total;dur=1.25', found {server_timing!r}") from None
    return stages


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
    name = f"shelfscore_{cache}_cache_lookups_total"
    hit, miss = (f'{name}{{result="{result}"}}' for result in ("hit", "miss"))
    if hit not in after or miss not in after:
        return None
    hits = after[hit] - before.get(hit, 0.0)
    return hits, hits + after[miss] - before.get(miss, 0.0)
