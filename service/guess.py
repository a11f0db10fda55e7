"""How long texts are in tokens, by their characters alone: for predictions, which learn what it is off by."""

from collections.abc import Sequence
from typing import TypeVar

from artifact import InputTemplate, Product

SAMPLE = 16
"""Products of a request that are looked at, evenly spaced."""

CHARS_PER_TOKEN = 4.0
"""Of product titles, about."""

T = TypeVar("T")


def sample(products: Sequence[T]) -> Sequence[T]:
    """At most SAMPLE of them."""
    return products[:: -(-len(products) // SAMPLE)]


def guess_product_tokens(template: InputTemplate, product: Product) -> float:
    """Of the fields that the template reads, special tokens left out."""
    tokens = 0.0
    for field in template.fields:
        if text := product.get(field.name):
            tokens += min(len(text) / CHARS_PER_TOKEN, field.max_tokens)
    return tokens


def guess_query_tokens(template: InputTemplate, query: str) -> float:
    """Special tokens left out."""
    return min(len(query) / CHARS_PER_TOKEN, template.max_query_tokens)
