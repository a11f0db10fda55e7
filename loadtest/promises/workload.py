"""Requests for the generator: real ones from a traffic file, or synthetic ones, with so many products each."""

import argparse
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

from ..client import Endpoint
from ..generator.plan import Plan
from ..generator.schedule import poisson_schedule
from ..generator.wire import WireRequest, wire_request
from ..traffic.requests import ScoreRequest, make_request, read_traffic
from ..traffic.sizes import parse_sizes
from ..traffic.source import Source, add_drawing_options
from ..traffic.synthetic import synthetic_requests

_MAX_ARRIVALS = 1_000_000


def add_traffic_options(parser: argparse.ArgumentParser, max_lag_ms: float | None = None) -> None:
    """Where requests come from, and where it matters, when the generator is too late to be believed."""
    parser.add_argument(
        "--traffic", type=Path, metavar="FILE", help="JSONL, one request body a line; synthetic without"
    )
    parser.add_argument(
        "--distinct", type=int, default=200, help="synthetic or drawn requests of a kind (default %(default)s)"
    )
    add_drawing_options(parser)
    parser.add_argument("--seed", type=int, default=1, help="of arrivals and what is made up (default %(default)s)")
    if max_lag_ms is not None:
        parser.add_argument(
            "--max-lag-ms",
            type=float,
            default=max_lag_ms,
            help="the run is invalid if 1 %% of its requests were sent later than this (default %(default)s)",
        )


def requests_of(
    parsed: argparse.Namespace, endpoint: Endpoint, products: int, headers: Mapping[str, str]
) -> list[WireRequest]:
    """`--distinct` requests of so many products each: drawn, a file's, or synthetic.

    A file's products are played again where it has too few.

    Raises:
        LoadtestError: an unusable traffic file.
    """
    source = Source.of(parsed, parse_sizes(str(products)))
    if source.drawn:
        made: Sequence[ScoreRequest] = source.draw([None] * parsed.distinct)[0].all()
    elif parsed.traffic is not None:
        made = resized(read_traffic(parsed.traffic), products, parsed.distinct)
    else:
        made = [make_request(*each) for each in synthetic_requests(parsed.distinct, products, parsed.seed)]
    return [wire_request(endpoint, each.body, products, headers) for each in made]


def resized(requests: Sequence[ScoreRequest], products: int, count: int) -> list[ScoreRequest]:
    """The same queries with exactly so many products, taken in turns from the whole traffic behind their own."""
    pool = [product for request in requests for product in request.products]
    sized = []
    for number in range(min(count, len(requests)) if products > 1 else count):
        request = requests[number % len(requests)]
        own = request.products[number // len(requests) :]
        others = islice(cycle(pool), (number * 131) % len(pool), None)
        listed = [*own[:products], *islice(others, max(0, products - len(own)))]
        sized.append(make_request(request.query, listed))
    return sized


def arrivals_of(
    rate: float, duration_s: float, requests: int, seed: int, *, first: int = 0, start_s: float = 0.0
) -> list[tuple[float, int]]:
    """Poisson arrivals over a stretch of time, of the requests numbered from `first`."""
    schedule = poisson_schedule(
        rate=rate, warmup_s=0.0, duration_s=duration_s, requests=requests, max_arrivals=_MAX_ARRIVALS, seed=seed
    )
    return [(start_s + arrival.due_s, first + arrival.request) for arrival in schedule]


def open_plan(endpoint: Endpoint, requests: Sequence[WireRequest], arrivals: Sequence[tuple[float, int]]) -> Plan:
    """Of arrivals."""
    return Plan(endpoint.host, endpoint.port, requests, arrivals=sorted(arrivals))


def closed_plan(endpoint: Endpoint, requests: Sequence[WireRequest], in_flight: int, duration_s: float) -> Plan:
    """Of so many requests at a time."""
    return Plan(endpoint.host, endpoint.port, requests, in_flight=in_flight, duration_s=duration_s, timeout_s=60.0)
