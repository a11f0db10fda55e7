"""Queries of the controlled world: what a shopper wants, made from the attributes of a product, in shoppers' words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .facets import Facets, normal, shows, wordings
from .truth import Intent
from .types import product_types

FACET_COUNTS, FACET_SHARES = (0, 1, 2, 3), (0.08, 0.34, 0.38, 0.20)


@dataclass(frozen=True, slots=True)
class WorldProduct:
    """A product of the world: its texts, and what is true of it.

    Attributes:
        facets: facet -> values; see `facets.read_facets`.
    """

    id: str
    title: str
    brand: str
    colour: str
    type: str
    description: str
    facets: Facets

    @property
    def visible(self) -> str:
        """What a model that reads no description sees, as a `normal` text."""
        return normal(" ".join((self.title, self.brand, self.colour, self.type)))


def intent_from(product: WorldProduct, hidden_share: float, random: np.random.Generator) -> Intent:
    """An intent that the product satisfies: its type and up to three of its facets.

    Args:
        product: whose attributes are asked for.
        hidden_share: probability that a facet is drawn from those which only the product's description shows, where it
            has facets of both kinds.
        random: drawn from.
    """
    text = product.visible
    pools: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
    for name in sorted(product.facets):
        value = str(random.choice(sorted(product.facets[name])))
        pools[shows(text, name, value)].append((name, value))
    chosen = []
    for _ in range(int(random.choice(FACET_COUNTS, p=FACET_SHARES))):
        seen = bool(pools[True]) and not (pools[False] and random.random() < hidden_share)
        if pool := pools[seen]:
            chosen.append(pool.pop(int(random.integers(len(pool)))))
    return Intent(product.type, tuple(sorted(chosen)))


def word(intent: Intent, random: np.random.Generator) -> str:
    """The intent as a shopper may type it: lower case, facets around the type in any order, the usual wording most."""
    kinds = {kind.name: kind.words for kind in product_types()}
    rest = [_pick(wordings(name, value), random) for name, value in intent.facets if name != "brand"]
    brand = [_pick(wordings(name, value), random) for name, value in intent.facets if name == "brand"]
    first = random.random() < 0.5
    parts = rest if first else [*rest, *brand]
    random.shuffle(parts)
    parts.insert(int(random.integers(len(parts) + 1)), _pick(kinds[intent.type], random))
    if first:
        parts = [*brand, *parts]
    return " ".join(parts)


def _pick(words: Sequence[str], random: np.random.Generator) -> str:
    """The first wording as often as all others together."""
    if len(words) == 1 or random.random() < 0.5:
        return words[0]
    return words[int(random.integers(1, len(words)))]
