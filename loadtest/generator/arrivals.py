"""Arrival processes: when requests fall due, whatever the server does with them."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ..errors import LoadtestError


class ArrivalProcess(Protocol):
    """Gives times; its text says which process it is."""

    def times(self, arrivals_random: random.Random) -> Iterator[float]:
        """Seconds after the start, ascending, without end."""
        ...


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent callers at a constant rate."""

    rate: float
    """Arrivals a second."""

    def __str__(self) -> str:
        return f"Poisson {self.rate:g}/s"

    def times(self, arrivals_random: random.Random) -> Iterator[float]:
        """Gaps are exponential."""
        at_s = 0.0
        while True:
            at_s += arrivals_random.expovariate(self.rate)
            yield at_s


@dataclass(frozen=True, slots=True)
class Burst:
    """Independent callers whose rate is a square wave: a calm rate, and `factor` times it for a share of each period.

    Over a period the mean is `rate`. Each period starts calm and ends with its burst. An inhomogeneous Poisson process,
    by thinning: Lewis and Shedler, 1979.
    """

    rate: float
    """Arrivals a second, on average."""
    factor: float
    period_s: float
    share: float
    start_s: float = 0.0
    """Where a period starts, such as the end of the warm-up."""

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise LoadtestError(f"--burst-factor: expected 1 or more, found {self.factor:g}")
        if not 0 < self.share < 1:
            raise LoadtestError(f"--burst-share: expected more than 0 and less than 1, found {self.share:g}")
        if self.period_s <= 0:
            raise LoadtestError(f"--burst-period: expected more than 0, found {self.period_s:g}")

    def __str__(self) -> str:
        return (
            f"bursts, {self.rate:g}/s on average: {self.calm_rate:.4g}/s, and {self.factor:g} times that for the last "
            f"{self.share:.0%} of every {self.period_s:g} s"
        )

    @property
    def calm_rate(self) -> float:
        """Arrivals a second outside bursts."""
        return self.rate / (1 - self.share + self.share * self.factor)

    def bursting(self, at_s: float) -> bool:
        """Whether a time lies in a burst."""
        return (at_s - self.start_s) % self.period_s >= (1 - self.share) * self.period_s

    def times(self, arrivals_random: random.Random) -> Iterator[float]:
        """Those of a Poisson process at the highest rate, less the surplus outside bursts."""
        for at_s in Poisson(self.calm_rate * self.factor).times(arrivals_random):
            if self.bursting(at_s) or arrivals_random.random() * self.factor < 1:
                yield at_s
