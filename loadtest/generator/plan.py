"""What the load generator is asked to do and what it found: values that travel between its process and the command."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..judging import Judged
from ..measure import Sample
from .wire import WireAnswer, WireRequest, judge_answer


@dataclass(frozen=True, slots=True)
class OpenSample(Sample):
    """One request of the generator. Times are seconds after the start of the run."""

    request: int = 0
    """Which of the plan's requests."""
    retry_after: str | None = None
    model_version: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent, and when."""

    host: str
    port: int
    requests: Sequence[WireRequest]
    arrivals: Sequence[tuple[float, int]] = ()
    """Open loop: seconds after the start, in order, and which request."""
    in_flight: int = 0
    """Closed loop, where there are no arrivals: so many requests at a time, one after another in order."""
    duration_s: float = 0.0
    """Of the closed loop."""
    make: Callable[[int], WireRequest] | None = None
    """Closed loop: makes the n-th request, where `requests` is empty."""
    count: int = 1_000_000
    """Bound of the closed loop."""
    judge: Callable[[WireAnswer, int], Judged] = judge_answer
    """What an answer to a request of so many products amounts to, by the server's protocol; it must be picklable."""
    timeout_s: float = 10.0
    max_connections: int = 1000


@dataclass(slots=True)
class Played:
    """What came of a plan."""

    start_s: float
    """On the system's monotonic clock, so that other processes' times can be laid beside."""
    samples: list[OpenSample]
    elapsed_s: float
    cpu_s: float
    unfinished: int
    """Sent, and neither answered nor timed out when the run was stopped."""
    connections: int
    """Opened."""
    stopped: bool
    abandoned: int = 0
    """Callers that left, as planned."""
