"""When each request is due and which one it is, decided before the first is sent: arrivals do not wait for answers."""

import random
from collections.abc import Iterator
from dataclasses import dataclass


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
    arrivals_random = random.Random(f"arrivals {seed}")
    order = _shuffled_passes(requests, random.Random(f"order {seed}"))
    schedule: list[Arrival] = []
    due_s = arrivals_random.expovariate(rate)
    while due_s < warmup_s + duration_s and len(schedule) < max_arrivals:
        schedule.append(Arrival(due_s, next(order), due_s >= warmup_s))
        due_s += arrivals_random.expovariate(rate)
    return schedule


def _shuffled_passes(count: int, order_random: random.Random) -> Iterator[int]:
    while True:
        yield from order_random.sample(range(count), count)
