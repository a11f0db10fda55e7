"""The rated load: the highest rate at which nearly all requests are answered in time, found by bisection."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..client import Endpoint
from ..generator.plan import OpenSample, Plan, Played
from ..generator.process import play
from ..generator.wire import WireRequest
from ..measure import Outcome
from .workload import arrivals_of, closed_plan, open_plan

_HIGHEST = 1.1
_CLOSED_IN_FLIGHT = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried."""

    rate: float
    requests: int
    in_time: float
    """Share of the requests that got a complete answer by their deadline."""
    held: bool


def share_in_time(samples: Sequence[OpenSample], deadline_ms: float) -> float:
    """Share with a complete answer within the deadline of the scheduled time."""
    if not samples:
        return 0.0
    return sum(s.outcome is Outcome.ACCEPTED and s.latency_ms <= deadline_ms for s in samples) / len(samples)


def find_rated(
    endpoint: Endpoint,
    requests: Sequence[WireRequest],
    *,
    deadline_ms: float,
    share: float,
    step_s: float,
    steps: int,
    seed: int,
    say: Callable[[str], object],
    run: Callable[[Plan], Played] = play,
) -> tuple[float, list[Step]]:
    """Requests a second, and what was tried: up to 1.1 times what a closed loop gets through.

    0 where no rate that was tried held. Raises KeyboardInterrupt if a step was stopped.
    """
    undated = [WireRequest(_without_deadline(each.data), each.products) for each in requests]
    warm = run(closed_plan(endpoint, undated, _CLOSED_IN_FLIGHT, step_s))
    if warm.stopped:
        raise KeyboardInterrupt
    done = [sample for sample in warm.samples if sample.outcome is Outcome.ACCEPTED]
    closed = len(done) / warm.elapsed_s
    say(f"closed loop, {_CLOSED_IN_FLIGHT} in flight: {closed:.1f} requests/s")
    low, high = 0.0, _HIGHEST * closed
    tried: list[Step] = []
    for number in range(steps):
        rate = (low + high) / 2
        played = run(open_plan(endpoint, requests, arrivals_of(rate, step_s, len(requests), seed + number)))
        if played.stopped:
            raise KeyboardInterrupt
        in_time = share_in_time(played.samples, deadline_ms)
        step = Step(rate, len(played.samples), in_time, _holds(in_time, len(played.samples), share))
        tried.append(step)
        say(f"{rate:.1f} requests/s: {in_time:.2%} of {step.requests} in time")
        low, high = (rate, high) if step.held else (low, rate)
    return low, tried


def _holds(in_time: float, requests: int, share: float) -> bool:
    """One request may always miss: a short step has too few for a share of 99 %."""
    return round((1 - in_time) * requests) <= max(1, math.floor((1 - share) * requests + 1e-9))


def _without_deadline(data: bytes) -> bytes:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"x-request-timeout-ms")]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
