"""Products that a server has met before a measurement, and products that nobody has."""

from collections.abc import Sequence

from .distinct import text_key
from .requests import ScoreRequest, make_request

INTRODUCTION = "products that are met before any of their queries"
"""The query under which products are introduced: no pair of a measurement has it."""

PRODUCTS_AT_ONCE = 250


def introductions(requests: Sequence[ScoreRequest]) -> list[ScoreRequest]:
    """Requests that hold each product of `requests` once, under a query of their own."""
    products = {tuple(sorted(product.items())): product for request in requests for product in request.products}
    distinct = list(products.values())
    starts = range(0, len(distinct), PRODUCTS_AT_ONCE)
    return [make_request(INTRODUCTION, distinct[start : start + PRODUCTS_AT_ONCE]) for start in starts]


def unseen(requests: Sequence[ScoreRequest]) -> list[ScoreRequest]:
    """The same requests, each product of each with a number of its own before its title."""
    made, number = [], 0
    taken = {text_key(product.get("title")) for request in requests for product in request.products}
    for request in requests:
        products = []
        for product in request.products:
            title = f"{number} {product.get('title')}"
            while text_key(title) in taken:
                number += 1
                title = f"{number} {product.get('title')}"
            number += 1
            products.append({**product, "title": title})
        made.append(make_request(request.query, products))
    return made
