"""How one signal, such as the score or a query's tokens, is spread over bins; counted request by request.

Inputs of one request resemble each other: 64 products of one query tell less of the traffic than 64 products of as many
queries. How much less shows in how the requests differ, so their squares are counted along with the inputs.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Sums = NDArray[np.float64]
"""What `request_sums` gives, or a sum of such: shape (3 * bins + 2,). All that a distribution needs of requests."""


class Distribution(BaseModel):
    """Inputs by bin. The first bin lies below the first edge; an input on an edge belongs to the bin above it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(min_length=1)
    counts: tuple[Annotated[int, Field(ge=0)], ...]
    independent_inputs: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, description="how many inputs drawn one by one would tell as much; null: as many as there are"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError("expected ascending edges")
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"expected {len(self.edges) + 1} counts for {len(self.edges)} edges")
        if not any(self.counts):
            raise ValueError("expected at least one input")
        return self

    @property
    def inputs(self) -> int:
        """All that were counted."""
        return sum(self.counts)

    @property
    def worth(self) -> float:
        """`independent_inputs`, or all inputs."""
        return self.independent_inputs if self.independent_inputs is not None else float(self.inputs)


def request_sums(values: ArrayLike, edges: Sequence[float]) -> Sums:
    """What the inputs of one request add to a distribution.

    Args:
        values: finite, shape (inputs,).
        edges: ascending.

    Returns:
        With c inputs in a bin and n in all: c for each bin, c squared for each, c * n for each, then 1 and n squared;
        nothing but zeros without an input.
    """
    found = np.searchsorted(edges, np.asarray(values, dtype=np.float64), side="right")
    counts = np.bincount(found, minlength=len(edges) + 1).astype(np.float64)
    n = float(len(found))
    return np.concatenate((counts, counts**2, counts * n, (float(n > 0), n**2)))


def no_sums(edges: Sequence[float]) -> Sums:
    """Those of no request."""
    return np.zeros(3 * (len(edges) + 1) + 2)


def distribution_of(sums: Sums, edges: Sequence[float]) -> Distribution | None:
    """The distribution of all requests in a sum; None where they brought no input.

    With p a bin's share of n inputs in R requests, its variance is that of a ratio of sums over requests,
    R / (R - 1) * sum (c - n_r p)^2 / n^2. If inputs were drawn one by one, the sum over bins of variance / p would be
    (bins - 1) / n: the n for which that holds is what the inputs are worth, at most as many as there are.

    Source: Rao and Scott, "The analysis of categorical data from complex sample surveys", 1981: the first-order
    correction by the mean design effect.
    """
    bins = len(edges) + 1
    counts, squares, products = sums[:bins], sums[bins : 2 * bins], sums[2 * bins : 3 * bins]
    requests, sizes_squared = sums[3 * bins :]
    n = float(counts.sum())
    if not n:
        return None
    occupied = counts > 0
    worth = requests
    if requests > 1 and np.count_nonzero(occupied) > 1:
        p = counts / n
        deviations = np.maximum(squares - 2 * p * products + p**2 * sizes_squared, 0.0)
        variances = requests / (requests - 1) * deviations / n**2
        relative = float((variances[occupied] / p[occupied]).sum())
        least = (np.count_nonzero(occupied) - 1) / n
        worth = n * least / max(relative, least)
    return Distribution(
        edges=tuple(edges), counts=tuple(map(int, counts)), independent_inputs=round(float(min(worth, n)), 3)
    )
