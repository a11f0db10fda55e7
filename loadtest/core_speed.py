"""How fast the machine's cores are from moment to moment.

A virtual core shares its hardware with strangers: the same work takes up to twice as long while they are busy, and no
load average, nor the time that the hypervisor says it took away, tells of it.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_WORK = 4000
INTERVAL_S = 0.1


def work() -> None:
    """A few hundred microseconds of it: always the same."""
    total = 0
    for number in range(_WORK):
        total += number * number


@dataclass(slots=True)
class CoreSpeed:
    """Times the same small work again and again by the CPU time of its thread: waiting for a core does not count.

    Attributes:
        readings: when, on the system's monotonic clock, and how many CPU seconds the work took.
    """

    work: Callable[[], None] = work
    cpu_clock: Callable[[], float] = time.thread_time
    readings: list[tuple[float, float]] = field(default_factory=list)

    def tick(self, due_s: float) -> None:
        """Reads once. Takes half a percent of a core at ten a second."""
        start_s = self.cpu_clock()
        self.work()
        self.readings.append((due_s, self.cpu_clock() - start_s))

    def slowness(self, start_s: float, end_s: float) -> float | None:
        """Mean of the readings within, as a multiple of the fastest twentieth of all; None of no readings there."""
        inside = [taken_s for at_s, taken_s in self.readings if start_s <= at_s <= end_s]
        return statistics.fmean(inside) / self._fastest_s() if inside else None

    def line(self) -> str:
        """In words, for a report's conditions."""
        if len(self.readings) < 2:
            return "speed of the cores: unknown"
        taken = sorted(taken_s / self._fastest_s() for _, taken_s in self.readings)
        middle, late = taken[len(taken) // 2], taken[len(taken) * 9 // 10]
        return (
            f"speed of the cores: the same work took {statistics.fmean(taken):.2f} times as long as at its fastest "
            f"(half of the time up to {middle:.2f}, a tenth of it {late:.2f} and more)"
        )

    def _fastest_s(self) -> float:
        taken = sorted(taken_s for _, taken_s in self.readings)
        return taken[len(taken) // 20]
