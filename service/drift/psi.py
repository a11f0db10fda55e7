"""The population stability index of two distributions, and what of it is chance."""

from dataclasses import dataclass

import numpy as np

from artifact.distribution import Distribution

MODERATE, SHIFTED = 0.1, 0.25
"""The convention of credit scoring: below the first nothing has changed, from the second on much has."""

LARGEST_SPREAD = (MODERATE / 2) / 3
"""A PSI says something once three standard deviations of chance are half of what counts as moderate."""


@dataclass(frozen=True, slots=True)
class Psi:
    """How far a distribution is from its reference.

    Attributes:
        raw: the index of the counts as they are.
        chance: what chance alone makes of it on average.
        spread: the standard deviation of that.
    """

    raw: float
    chance: float
    spread: float

    @property
    def value(self) -> float:
        """The index without what chance makes of it; at least 0."""
        return max(0.0, self.raw - self.chance)

    @property
    def is_settled(self) -> bool:
        """Whether there is enough of both distributions for the value to mean something."""
        return self.spread <= LARGEST_SPREAD


def compare(reference: Distribution, found: Distribution) -> Psi:
    """The population stability index, sum over bins of (p - q) ln(p / q), less its expectation by chance.

    With p and q the shares of a bin in samples of n and m independent inputs of one and the same distribution over B
    bins, the index is about (1/n + 1/m) times a chi-square variable of B - 1 degrees of freedom. So by chance it is
    (B - 1) (1/n + 1/m) on average. n and m are what the inputs are worth, `Distribution.worth`; bins that are empty in
    both samples do not count.

    Half an input of the smaller sample is added to every bin of either, so that an empty one has a logarithm.

    Source: Yurdakul and Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
    Validation 14(4), 2020.

    Raises:
        ValueError: their bins differ.
    """
    if reference.edges != found.edges:
        raise ValueError(f"expected bins at {reference.edges}, found {found.edges}")
    q, p = (np.asarray(each.counts, dtype=np.float64) / each.inputs for each in (reference, found))
    occupied = (p > 0) | (q > 0)
    bins = int(np.count_nonzero(occupied))
    added = 0.5 / min(reference.worth, found.worth)
    p, q = ((share[occupied] + added) / (1 + bins * added) for share in (p, q))
    raw = float(((p - q) * np.log(p / q)).sum())
    return Psi(raw, *by_chance(bins, reference, found))


def by_chance(bins: int, *samples: Distribution) -> tuple[float, float]:
    """What chance makes of the index between two samples of one distribution, or of one sample and its distribution.

    Returns:
        Mean, and standard deviation: of B - 1 independent parts, each 1 / inputs, for inputs that come one by one.
        What is more, as inputs of a request resemble each other, may all be in one of these parts, as when a request
        moves all bins at once: so it is reckoned, which is the most that it can be.
    """
    freedom = max(1, bins - 1)
    each = sum(1 / sample.inputs for sample in samples)
    more = freedom * (sum(1 / sample.worth for sample in samples) - each)
    return freedom * each + more, float(np.sqrt(2 * ((freedom - 1) * each**2 + (each + more) ** 2)))


def verdict(psi: float) -> str:
    """In a word."""
    return "stable" if psi < MODERATE else "moderate" if psi < SHIFTED else "shifted"
