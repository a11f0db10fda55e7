"""Plausible product traffic for people without data of their own. For timing only: it says nothing about relevance."""

import random
from collections.abc import Iterator

from .vocabulary import BOASTS, COLORS, PRODUCT_TYPES, SERIES, ProductType

_SAME_TYPE_SHARE = 0.6


def synthetic_requests(count: int, products: int, seed: int) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """`count` pairs of a query and its candidates, most of them of the kind asked for. Equal arguments, equal requests.

    Request i depends on `seed`, `products` and i alone.
    """
    for number in range(count):
        yield synthetic_request(number, products, seed)


def synthetic_request(number: int, products: int, seed: int) -> tuple[str, list[dict[str, str]]]:
    """Request `number` of all: a query and its candidates."""
    made_random = random.Random(f"synthetic {seed} {number}")
    wanted = made_random.choice(PRODUCT_TYPES)
    kinds = (
        wanted if made_random.random() < _SAME_TYPE_SHARE else made_random.choice(PRODUCT_TYPES)
        for _ in range(products)
    )
    listed = [_product(kind, f"P{number:05}-{index:03}", made_random) for index, kind in enumerate(kinds)]
    return _query(wanted, made_random), listed


def _query(kind: ProductType, made_random: random.Random) -> str:
    words = [made_random.choice(kind.nouns)]
    if made_random.random() < 0.6:
        words.insert(0, made_random.choice(made_random.choice(kind.attributes)))
    if made_random.random() < 0.2:
        words.insert(0, made_random.choice(kind.brands))
    if made_random.random() < 0.2:
        words.append(made_random.choice(COLORS))
    return " ".join(words).strip().lower()


def _product(kind: ProductType, product_id: str, made_random: random.Random) -> dict[str, str]:
    brand = made_random.choice(kind.brands)
    color = made_random.choice(COLORS)
    parts = []
    if made_random.random() < 0.7:
        parts.append(brand)
    if made_random.random() < 0.4:
        parts.append(made_random.choice(SERIES))
    if made_random.random() < 0.4:
        parts.append(f"{chr(made_random.randrange(65, 91))}{chr(made_random.randrange(65, 91))}-{_digits(made_random)}")
    parts.append(made_random.choice(kind.nouns))
    groups = made_random.sample(kind.attributes, made_random.randint(0, len(kind.attributes)))
    parts += [made_random.choice(group) for group in groups]
    if color and made_random.random() < 0.5:
        parts.append(color)
    if made_random.random() < 0.15:
        parts += [f"- {boast}" for boast in made_random.sample(BOASTS, made_random.randint(1, 4))]
    return {
        "id": product_id,
        "title": " ".join(parts),
        "brand": brand,
        "color": color,
        "product_type": kind.name,
    }


def _digits(made_random: random.Random) -> str:
    return str(made_random.randrange(100, 10_000))
