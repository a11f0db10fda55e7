"""When each request is due and which one it is, decided before the first is sent: arrivals do not wait for answers."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from .arrivals import ArrivalProcess, Poisson


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of the schedule."""

    due_s: float
    """Seconds after the start of the run."""
    request: int
    """Which request of the traffic."""
    counted: bool
    """False while warming up."""


def poisson_schedule(
    *, rate: float, warmup_s: float, duration_s: float, requests: int, max_arrivals: int, seed: int
) -> list[Arrival]:
    """A Poisson process of `rate` arrivals a second over the warm-up and the counted time, one process throughout.

    The traffic's `requests` are played in seeded random order, each once before any is played again.
    `max_arrivals` bounds the schedule, the warm-up included. Equal arguments give equal schedules.
    """
    due = due_times(Poisson(rate), end_s=warmup_s + duration_s, max_arrivals=max_arrivals, seed=seed)
    order = shuffled_passes(requests, seed)
    return [Arrival(due_s, next(order), due_s >= warmup_s) for due_s in due]


def due_times(process: ArrivalProcess, *, end_s: float, max_arrivals: int, seed: int) -> list[float]:
    """Times of a process before `end_s`, the first `max_arrivals` of them."""
    due: list[float] = []
    for at_s in process.times(random.Random(f"arrivals {seed}")):
        if at_s >= end_s or len(due) >= max_arrivals:
            break
        due.append(at_s)
    return due


def shuffled_passes(count: int, seed: int) -> Iterator[int]:
    """0 to `count` - 1 in seeded random order, each once before any comes again, without end."""
    order_random = random.Random(f"order {seed}")
    while True:
        yield from order_random.sample(range(count), count)
