"""Requests as a shop sees them: few queries asked often, many seldom, each with about the same products every time."""

import itertools
import random
from collections.abc import Sequence

from .distinct import text_key
from .errors import TrafficError
from .traffic import Product, ScoreRequest, make_request


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
    cumulative = list(itertools.accumulate((rank + 1) ** -exponent for rank in range(len(ranked))))
    drawn = random.Random(f"zipf {seed}")
    stock = [product for request in lists for product in request.products]
    made = []
    for request in drawn.choices(ranked, cum_weights=cumulative, k=count):
        products = [drawn.choice(stock) if drawn.random() < churn else product for product in request.products]
        made.append(make_request(request.query, _once(products)))
    return made


def _once(products: Sequence[Product]) -> list[Product]:
    """Without those whose title came before."""
    return list({text_key(product.get("title")): product for product in products}.values())
