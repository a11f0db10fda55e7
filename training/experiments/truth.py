"""What is relevant in the controlled world, by rule, and simulated raters who misread the rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median_low

import numpy as np

from .facets import Facets

GRADES = (0, 1, 2, 3)


@dataclass(frozen=True, slots=True)
class Intent:
    """What a shopper wants: a product type, and one value of each facet that matters."""

    type: str
    facets: tuple[tuple[str, str], ...]


def true_grade(intent: Intent, product_type: str, facets: Facets) -> int:
    """Relevance of a product by its attributes, never by its text.

    Returns:
        0 for another type; 3 where all wanted facets hold; of the rest 2 where at least half of them hold, else 1. A
        facet that the catalogue says nothing of does not hold.
    """
    if product_type != intent.type:
        return 0
    held = sum(value in facets.get(name, ()) for name, value in intent.facets)
    if held == len(intent.facets):
        return 3
    return 2 if 2 * held >= len(intent.facets) else 1


def rate(truth: int, misread: float, raters: int, random: np.random.Generator) -> list[int]:
    """Grades of independent raters: each misreads with probability `misread`, and then gives any other grade."""
    return [
        int(random.choice([grade for grade in GRADES if grade != truth])) if random.random() < misread else truth
        for _ in range(raters)
    ]


def agreed(grades: Sequence[int]) -> int:
    """The raters' grade: their median, the lower one of two."""
    return int(median_low(grades))
