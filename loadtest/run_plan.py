"""What an `slo` run will send and when, all decided by its options before the first request is sent."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .errors import LoadtestError
from .generator.arrivals import ArrivalProcess, Burst, Poisson
from .generator.schedule import Arrival, due_times, shuffled_passes
from .generator.trace import Recorded, read_trace
from .options import RunOptions
from .traffic.requests import ScoreRequest


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A whole run."""

    schedule: Sequence[Arrival]
    request: Callable[[int], ScoreRequest]
    """The request of a number in the schedule."""
    arrivals: str
    """In words."""
    traffic: str
    """In words."""
    counted_s: float
    """Time in which the counted requests fall due."""

    @property
    def planned(self) -> int:
        """Counted requests."""
        return sum(arrival.counted for arrival in self.schedule)


def plan_run(options: RunOptions) -> RunPlan:
    """The plan; equal options give equal plans.

    Raises:
        LoadtestError: an unusable file, or more arrivals than allowed.
    """
    end_s = options.warmup_s + options.duration_s
    if options.arrivals == "trace":
        recorded, last_s = _trace(options, end_s)
        arrivals = f"{options.trace} at {options.trace_speed:g} times its speed, {len(recorded)} arrivals"
        # A trace that ends early has less counted time.
        counted_s = max(0.0, last_s - options.warmup_s)
    else:
        process = _process(options)
        due = due_times(process, end_s=end_s, max_arrivals=options.max_requests + 1, seed=options.seed)
        recorded, arrivals = [Recorded(due_s) for due_s in due], str(process)
        counted_s = options.duration_s
    if len(recorded) > options.max_requests:
        raise LoadtestError(f"--max-requests: the schedule has more arrivals than {options.max_requests}")
    order, request, traffic = _requests(options, recorded)
    schedule = [
        Arrival(each.at_s, number, each.at_s >= options.warmup_s) for each, number in zip(recorded, order, strict=True)
    ]
    return RunPlan(schedule, request, arrivals, traffic, counted_s)


def _process(options: RunOptions) -> ArrivalProcess:
    if options.arrivals == "burst":
        return Burst(
            options.rate, options.burst_factor, options.burst_period_s, options.burst_share, start_s=options.warmup_s
        )
    return Poisson(options.rate)


def _trace(options: RunOptions, end_s: float) -> tuple[list[Recorded], float]:
    """The arrivals before `end_s`, and where the trace ends, at most there."""
    recorded: list[Recorded] = []
    for each in read_trace(Path(options.trace)):
        at_s = each.at_s / options.trace_speed
        if at_s >= end_s:
            return recorded, end_s
        recorded.append(Recorded(at_s, each.products, each.request))
        if len(recorded) > options.max_requests:
            break
    return recorded, recorded[-1].at_s


def _requests(
    options: RunOptions, recorded: Sequence[Recorded]
) -> tuple[Sequence[int], Callable[[int], ScoreRequest], str]:
    """Which request each arrival plays, what they are, and where they come from."""
    own = [each.request for each in recorded if each.request is not None]
    sizes = [each.products for each in recorded if each.request is None]
    source = options.source
    order: Iterator[int]
    of_traffic: Callable[[int], ScoreRequest]
    if not sizes:
        return range(len(own)), partial(_of, own), "the trace's own requests"
    if source.drawn or any(size is not None for size in sizes):
        drawn, words = source.draw(sizes)
        count, of_traffic, order = len(drawn), drawn.request, iter(range(len(drawn)))
    else:
        pool = source.pool()
        words, count, of_traffic = pool.source, len(pool.requests), partial(_of, pool.requests)
        order = shuffled_passes(count, options.seed)
    if own:
        words = f"{len(own)} of the trace's own requests, the others {words}"
    own_order = iter(range(count, count + len(own)))
    numbers = [next(order if each.request is None else own_order) for each in recorded]
    return numbers, lambda number: of_traffic(number) if number < count else own[number - count], words


def _of(requests: Sequence[ScoreRequest], number: int) -> ScoreRequest:
    return requests[number]
