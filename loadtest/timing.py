"""What a server says of its own time, in the header Server-Timing."""

import math
from contextlib import suppress

from .errors import ServerError

Stages = tuple[tuple[str, float], ...]
"""(stage, milliseconds), in the order of the header."""

TOTAL = "total"
"""The stage that holds all others."""


def stages_ms(server_timing: str) -> dict[str, float]:
    """Milliseconds by stage, of a header that has nothing else.

    Raises:
        ServerError: it has.
    """
    stages = {}
    for entry in server_timing.split(","):
        name, _, duration = entry.strip().partition(";dur=")
        try:
            stages[name] = float(duration)
        except ValueError:
            raise ServerError(f"expected server-timing like 'total;dur=1.25', found {server_timing!r}") from None
    return stages


def told_stages(server_timing: str) -> Stages:
    """Those that give a duration; proxies on the way may add entries that give none. Empty without a header."""
    told = []
    for entry in server_timing.split(",") if server_timing else ():
        name, *parameters = (part.strip() for part in entry.split(";"))
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "dur":
                with suppress(ValueError):
                    told.append((name, float(value.strip().strip('"'))))
    return tuple((name, ms) for name, ms in told if math.isfinite(ms))


def total_of(stages: Stages) -> float | None:
    """Milliseconds from the request's arrival to its answer, by the server's clock; None where it does not say."""
    return dict(stages).get(TOTAL)
