"""Fair timing on a noisy machine: contestants take turns, so that a slow minute slows all of them."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name", bound=str)


def in_turn(contestants: Mapping[Name, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict[Name, list[float]]:
    """Seconds of each call, by contestant, in rounds of one call each."""
    for _ in range(warm_up):
        for work in contestants.values():
            work()
    seconds: dict[Name, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, work in contestants.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return seconds
