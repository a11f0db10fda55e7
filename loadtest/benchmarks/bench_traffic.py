"""Which requests a benchmark asks: no pair twice, or drawn by Zipf's law over queries, or over products."""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import LoadtestError
from ..traffic.distinct import distinct_requests
from ..traffic.novelty import introductions, unseen
from ..traffic.requests import ScoreRequest, Traffic, load_traffic
from ..traffic.zipf import MAX_EXPONENT, products_of, zipf_lists, zipf_requests

_SYNTHETIC_SPARE = 2
"""Synthetic requests made for each that is needed: some hold a title twice."""
_CHURN = 0.1
_WARM_UP, _ZIPF_WARM_UP = 20, 200


@dataclass(frozen=True, slots=True)
class Chosen:
    """The requests, and what a report says of them."""

    traffic: Traffic
    requests: Sequence[ScoreRequest]
    """What each contestant is asked, the warm-up first."""
    law: str = ""
    """By which they were drawn, in words; empty where they were taken as they come."""
    catalogue: int | None = None
    """Different products that they were drawn from; None where they were not drawn."""
    products: str = ""
    """What the servers had met of the products before, in words; empty where nothing was done about it."""
    introduction: Sequence[ScoreRequest] = ()
    """For servers of our contract, before the warm-up."""


def add_traffic_options(container: argparse._ActionsContainer) -> None:
    """Adds them, `--warmup` among them: drawn requests need a longer one."""
    container.add_argument(
        "--warmup",
        type=int,
        help=f"requests before, not counted (default {_WARM_UP}; {_ZIPF_WARM_UP} with --zipf or --zipf-products)",
    )
    container.add_argument("--products", type=int, default=64, help="of synthetic traffic (default %(default)s)")
    container.add_argument("--traffic", type=Path, metavar="FILE", help="JSONL; synthetic without")
    kind = container.add_mutually_exclusive_group()
    kind.add_argument(
        "--seen-products",
        action="store_true",
        help="servers of our contract get every product once before, under another query: no pair of it is known",
    )
    kind.add_argument(
        "--unseen-products", action="store_true", help="every product of every request has a title of its own"
    )
    kind.add_argument(
        "--zipf",
        type=float,
        metavar="EXPONENT",
        help="draw the traffic's queries by Zipf's law, each with its list: pairs come again",
    )
    kind.add_argument(
        "--zipf-products",
        type=float,
        metavar="EXPONENT",
        help="draw every list from all products of the traffic by Zipf's law, each for a query of its own: products "
        "come again, pairs do not",
    )
    container.add_argument(
        "--churn",
        type=float,
        metavar="SHARE",
        help=f"with --zipf: of a list that differs when its query returns (default {_CHURN})",
    )
    container.add_argument("--seed", type=int, default=1, help="of what is made up or drawn (default %(default)s)")


def check_traffic_options(parsed: argparse.Namespace) -> None:
    """Raises LoadtestError for those that are impossible."""
    for name in ("zipf", "zipf_products"):
        value = getattr(parsed, name)
        if value is not None and not (math.isfinite(value) and 0 <= value <= MAX_EXPONENT):
            raise LoadtestError(f"--{name.replace('_', '-')}: expected 0 to {MAX_EXPONENT}, found {value}")
    if parsed.churn is not None and parsed.zipf is None:
        raise LoadtestError("--churn: expected --zipf with it")
    if parsed.churn is not None and not 0 <= parsed.churn <= 1:
        raise LoadtestError(f"--churn: expected 0 to 1, found {parsed.churn}")
    if parsed.warmup is not None and not 0 <= parsed.warmup <= 100_000:
        raise LoadtestError(f"--warmup: expected 0 to 100000, found {parsed.warmup}")


def warm_up_of(parsed: argparse.Namespace) -> int:
    """Requests of the warm-up: as given, else by how the requests are drawn."""
    if parsed.warmup is not None:
        return int(parsed.warmup)
    return _WARM_UP if parsed.zipf is None and parsed.zipf_products is None else _ZIPF_WARM_UP


def choose_requests(parsed: argparse.Namespace, needed: int) -> Chosen:
    """`needed` requests as the options ask for.

    Raises:
        TrafficError: the traffic cannot be read, or is too little.
    """
    spare = _SYNTHETIC_SPARE * needed
    traffic = load_traffic(parsed.traffic, requests=spare, products=parsed.products, seed=parsed.seed)
    if parsed.zipf is not None:
        return _by_queries(parsed, traffic, needed)
    if parsed.zipf_products is not None:
        return _by_products(parsed, traffic, needed)
    requests = distinct_requests(traffic.requests, needed, traffic.source)
    if parsed.unseen_products:
        said = "a number before each title made every product one that nobody had met"
        return Chosen(traffic, unseen(requests), products=said)
    if parsed.seen_products:
        said = "servers of our contract had met every product before, under another query"
        return Chosen(traffic, requests, products=said, introduction=introductions(requests))
    return Chosen(traffic, requests)


def _by_queries(parsed: argparse.Namespace, traffic: Traffic, needed: int) -> Chosen:
    churn = _CHURN if parsed.churn is None else parsed.churn
    requests = zipf_requests(
        traffic.requests, needed, traffic.source, exponent=parsed.zipf, churn=churn, seed=parsed.seed
    )
    law = (
        f"queries drawn by Zipf's law, exponent {parsed.zipf:g}; {churn:.0%} of a list differs when its query returns; "
        f"seed {parsed.seed}"
    )
    return Chosen(traffic, requests, law, len(products_of(traffic.requests)))


def _by_products(parsed: argparse.Namespace, traffic: Traffic, needed: int) -> Chosen:
    drawn = zipf_lists(traffic.requests, needed, exponent=parsed.zipf_products, seed=parsed.seed)
    # A check, not a choice: each request has a query of its own.
    requests = distinct_requests(drawn, needed, traffic.source)
    law = (
        f"lists drawn from all its products by Zipf's law, exponent {parsed.zipf_products:g}, each for a query of its "
        f"own; seed {parsed.seed}"
    )
    return Chosen(traffic, requests, law, len(products_of(traffic.requests)))
