"""Requests for a scan: every product has a title that no other has, so that a cache can only take and drop."""

from collections.abc import Iterator

from ..traffic.requests import make_request
from ..traffic.synthetic import synthetic_request

PRODUCTS_AT_MOST = 1000
"""In a request, as the service's default allows."""


def scan_bodies(products: int, at_once: int, seed: int) -> Iterator[tuple[int, bytes]]:
    """(products, body) of requests of `at_once` products, the last one of what is left, `products` in all."""
    for number, first in enumerate(range(0, products, at_once)):
        query, listed = synthetic_request(number, min(at_once, products - first), seed)
        numbered = [{**product, "title": f"{product['title']} {first + i}"} for i, product in enumerate(listed)]
        yield len(numbered), make_request(query, numbered).body
