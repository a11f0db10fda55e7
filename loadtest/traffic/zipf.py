"""Requests as a shop sees them: few queries asked often, many seldom, each with about the same products every time."""

import itertools
import random
from collections.abc import Sequence

from ..errors import TrafficError
from .distinct import text_key
from .requests import MAX_QUERY_CHARS, Product, ScoreRequest, make_request

MAX_EXPONENT = 2.0
"""Beyond it hardly anything but the first ranks is drawn, and a list of different products takes long to fill."""


def zipf_weights(count: int, exponent: float) -> list[float]:
    """Of ranks 1 to `count`, in proportion to rank ** -exponent: sums up to each rank."""
    return list(itertools.accumulate(rank**-exponent for rank in range(1, count + 1)))


def zipf_requests(
    traffic: Sequence[ScoreRequest], count: int, source: str, *, exponent: float, churn: float, seed: int
) -> list[ScoreRequest]:
    """`count` requests; the query of rank r comes with a probability in proportion to r ** -exponent.

    A query's products are those of its first line in the traffic. Each time, each of them is replaced with probability
    `churn` by a product of another line, as a retriever's list changes with the stock. Ranks are drawn by `seed`.

    Raises:
        TrafficError: the traffic has fewer than two queries.
    """
    lists = list({text_key(request.query): request for request in reversed(traffic)}.values())[::-1]
    if len(lists) < 2:
        raise TrafficError(f"{source}: expected at least 2 queries, found {len(lists)}")
    ranked = random.Random(f"ranks {seed}").sample(lists, len(lists))
    cumulative = zipf_weights(len(ranked), exponent)
    drawn = random.Random(f"zipf {seed}")
    stock = [product for request in lists for product in request.products]
    made = []
    for request in drawn.choices(ranked, cum_weights=cumulative, k=count):
        products = [drawn.choice(stock) if drawn.random() < churn else product for product in request.products]
        made.append(make_request(request.query, _once(products)))
    return made


def zipf_lists(traffic: Sequence[ScoreRequest], count: int, *, exponent: float, seed: int) -> list[ScoreRequest]:
    """`count` requests, each for a query of its own, whose products are drawn from all those of the traffic.

    The product of rank r comes next with a probability in proportion to r ** -exponent, among those that the list has
    not: few products are in most lists. A list is as long as the traffic's in the same place, at most as the catalogue.
    A query that comes again has a number behind it. Ranks are drawn by `seed`; `exponent` is 0 to `MAX_EXPONENT`.
    """
    catalogue = products_of(traffic)
    ranked = random.Random(f"product ranks {seed}").sample(catalogue, len(catalogue))
    cumulative = zipf_weights(len(ranked), exponent)
    drawn = random.Random(f"zipf products {seed}")
    queries = itertools.cycle(traffic)
    taken: set[str] = set()
    made = []
    for request in itertools.islice(queries, count):
        size = min(len(request.products), len(ranked))
        places: dict[int, None] = {}
        while len(places) < size:
            places |= dict.fromkeys(
                drawn.choices(range(len(ranked)), cum_weights=cumulative, k=size - len(places)),
            )
        made.append(make_request(_own_query(request.query, taken), [ranked[place] for place in places]))
    return made


def products_of(traffic: Sequence[ScoreRequest]) -> list[Product]:
    """The products of all requests, each title once."""
    return _once([product for request in traffic for product in request.products])


def _own_query(query: str, taken: set[str]) -> str:
    """The query, or the query and a number; adds it."""
    own, number = query, 1
    while text_key(own) in taken:
        number += 1
        behind = f" {number}"
        own = query[: MAX_QUERY_CHARS - len(behind)] + behind
    taken.add(text_key(own))
    return own


def _once(products: Sequence[Product]) -> list[Product]:
    """Without those whose title came before."""
    return list({text_key(product.get("title")): product for product in products}.values())
