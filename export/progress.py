"""Progress lines on standard error."""

import sys
import time
from collections.abc import Callable

EVERY_S = 10.0
"""Between two lines about work of unknown length."""


class Progress:
    """Writes each line with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        sys.stderr.write(f"export {time.monotonic() - self._start:6.1f} s  {line}\n")
        sys.stderr.flush()


class Pace:
    """Says every EVERY_S how many products are done, how many a second, and when the rest will be.

    Args:
        clock: seconds.
        say: takes the lines.
    """

    def __init__(self, clock: Callable[[], float], say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say
        self._start = self._said = clock()
        self._computed = 0

    def add(self, computed: int, done: int, left: int) -> None:
        """Counts so many more.

        Args:
            computed: since the last call.
            done: in all, those of earlier runs too.
            left: about; below 1: unknown.
        """
        self._computed += computed
        now = self._clock()
        if now - self._said < EVERY_S:
            return
        self._said = now
        rate = self._computed / (now - self._start)
        line = f"{done:,} products, {rate:,.0f} a second"
        if left > 0 and rate > 0:
            line += f", {_shown(left / rate)} left"
        self._say(line)


def _shown(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"about {minutes} min"
