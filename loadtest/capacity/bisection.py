"""Finds where a yes turns into a no, on a fixed grid of rates.

The grid does not depend on where the search starts, so two searches try the same rates and their answers can be
compared: they are equal, or whole grid steps apart.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

_FIRST_LEAP = 8


@dataclass(frozen=True, slots=True)
class Grid:
    """Rates that are powers of one ratio: number 0 is one request a second."""

    ratio: float
    """Above 1: of two neighbours."""

    def rate(self, number: int) -> float:
        """Requests a second."""
        return self.ratio**number

    def below(self, rate: float) -> int:
        """The number of the highest rate that is not above this one."""
        return math.floor(math.log(rate) / math.log(self.ratio) + 1e-9)


@dataclass(frozen=True, slots=True)
class Bracket:
    """Where the answer lies, as numbers of a grid; None where the search met no such rate."""

    holds: int | None = None
    """The highest that held."""
    breaks: int | None = None
    """The lowest above it that did not."""


def find_bracket(
    holds: Callable[[int], bool],
    start: int,
    *,
    least: int,
    most: int,
    tries: int = 1000,
    leap: int = _FIRST_LEAP,
) -> Bracket:
    """Leaps away from `start`, twice as far each time, until the answer changes; then halves what lies between.

    Asks for no number twice, for none outside `least` to `most`, and at most `tries` times. `leap`: the first one.
    If the answers are not monotonic, it still ends between a yes and a no.
    """
    found = Bracket()
    asked = 0
    number = min(max(start, least), most)
    while asked < tries:
        asked += 1
        found = Bracket(number, found.breaks) if holds(number) else Bracket(found.holds, number)
        if found.holds is not None and found.breaks is not None:
            if found.breaks - found.holds <= 1:
                break
            number = (found.holds + found.breaks) // 2
        elif found.holds is not None:
            if number == most:
                break
            number, leap = min(most, number + leap), 2 * leap
        else:
            if number == least:
                break
            number, leap = max(least, number - leap), 2 * leap
    return found
