"""A recorded trace: when requests arrived, and if it says so how large they were or what they held.

JSONL, one arrival a line in order of time, gzipped where the name ends in .gz:

    {"at_s": 1700000000.125}
    {"at_s": 1700000000.250, "products": 64}
    {"at_s": 1700000000.375, "request": {"query": "usb c charger", "products": [{"title": "65W charger"}]}}

Times are seconds from any start: the first arrival becomes 0.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import TrafficError
from ..traffic.catalogue import check_sendable
from ..traffic.requests import (
    MAX_PRODUCTS,
    ScoreRequest,
    check_keys,
    compact_json,
    kind_of,
    parse_request,
    read_objects,
)

MAX_TRACE_LINES = 1_000_000
_MAX_BODY_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Recorded:
    """One arrival of a trace."""

    at_s: float
    """Seconds after the first arrival."""
    products: int | None = None
    """Asked for; None where the traffic decides."""
    request: ScoreRequest | None = None
    """Its own; None where the traffic decides."""


def read_trace(path: Path) -> Iterator[Recorded]:
    """Its arrivals.

    Raises:
        TrafficError: naming file, line and field.
    """
    first_s, last_s, body_bytes = None, -math.inf, 0
    for contents, _, where in read_objects(path, MAX_TRACE_LINES, "arrival"):
        check_keys(contents, {"at_s"}, {"products", "request"}, where)
        at_s = _seconds(contents["at_s"], where)
        if at_s < last_s:
            raise TrafficError(
                f"{where}: at_s: expected no earlier time than {last_s!r} of the line before, found {at_s!r}"
            )
        first_s, last_s = at_s if first_s is None else first_s, at_s
        if "products" in contents and "request" in contents:
            raise TrafficError(f"{where}: expected products or request, found both")
        request = _request(contents["request"], where) if "request" in contents else None
        body_bytes += len(request.body) if request else 0
        if body_bytes > _MAX_BODY_BYTES:
            raise TrafficError(f"{where}: expected at most {_MAX_BODY_BYTES >> 20} MiB of requests")
        products = _products(contents["products"], where) if "products" in contents else None
        yield Recorded(at_s - first_s, products, request)


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TrafficError(f"{where}: at_s: expected seconds, found {kind_of(value)}")
    if not math.isfinite(value):
        raise TrafficError(f"{where}: at_s: expected a finite number, found {value}")
    return float(value)


def _products(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_PRODUCTS:
        found = value if isinstance(value, int | float) and not isinstance(value, bool) else kind_of(value)
        raise TrafficError(f"{where}: products: expected a number from 1 to {MAX_PRODUCTS}, found {found}")
    return value


def _request(value: Any, where: str) -> ScoreRequest:
    if not isinstance(value, dict):
        raise TrafficError(f"{where}: request: expected an object, found {kind_of(value)}")
    check_sendable(value, f"{where}: request")
    return parse_request(value, compact_json(value), f"{where}: request")
