"""Looks at the server while it is under load: probes on connections of their own, its metrics."""

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException

import psutil  # type: ignore[import-untyped]

from ..client import Connection, Endpoint
from ..metering import Meter, Reading, Ticker
from ..target import Target

# The promises have all that watches from here.
__all__ = [
    "Histogram",
    "Meter",
    "Neighbours",
    "Probe",
    "Prober",
    "Reading",
    "Ticker",
    "histogram",
    "read_metrics",
]


@dataclass(frozen=True, slots=True)
class Probe:
    """One answer. Times are on the system's monotonic clock."""

    due_s: float
    done_s: float
    status: int | None

    @property
    def latency_ms(self) -> float:
        """From its tick, so that one slow answer does not hide the probes behind it."""
        return (self.done_s - self.due_s) * 1e3


class Neighbours:
    """Cores that processes other than the server and this command used since it was made: they make figures worse."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._start = self._read()

    def line(self, generator_cpu_s: float = 0.0) -> str:
        """In words, while the server still runs; `generator_cpu_s` was used by the generator's process."""
        at_s, busy_s, nice_s, ours_s = (now - then for now, then in zip(self._read(), self._start, strict=True))
        others = max(0.0, busy_s - ours_s - generator_cpu_s) / at_s
        return f"neighbours used {others:.2f} cores at normal priority, {nice_s / at_s:.2f} at low priority"

    def _read(self) -> tuple[float, float, float, float]:
        machine, own = psutil.cpu_times(), psutil.Process().cpu_times()
        ours_s = self._target.cpu_s() + own.user + own.system
        return time.monotonic(), machine.user + machine.system, getattr(machine, "nice", 0.0), ours_s


class Prober:
    """Asks one path again and again."""

    def __init__(self, endpoint: Endpoint, path: str, timeout_s: float = 5.0) -> None:
        self._connection = Connection(endpoint, timeout_s)
        self._path = path
        self.probes: list[Probe] = []

    def tick(self, due_s: float) -> None:
        """Asks once."""
        status = None
        with suppress(OSError, HTTPException):
            status = self._connection.request("GET", self._path).status
        self.probes.append(Probe(due_s, time.monotonic(), status))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Of seconds, cumulative, as Prometheus prints it."""

    buckets: dict[float, float]
    total_s: float
    count: float

    def since(self, before: "Histogram") -> "Histogram":
        """What was added."""
        grown = {bound: value - before.buckets.get(bound, 0.0) for bound, value in self.buckets.items()}
        return Histogram(grown, self.total_s - before.total_s, self.count - before.count)

    def bound_s(self, q: float) -> float | None:
        """The upper bound of the bucket with the q-th value, at most the largest finite one; None of no values."""
        finite = sorted(bound for bound in self.buckets if math.isfinite(bound))
        if self.count <= 0 or not finite:
            return None
        return next((bound for bound in finite if self.buckets[bound] >= q * self.count), finite[-1])


def read_metrics(endpoint: Endpoint) -> str:
    """GET /metrics; empty where the server does not answer."""
    connection = Connection(endpoint, 5.0)
    try:
        reply = connection.request("GET", "/metrics")
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()
    return reply.body.decode("utf-8", "replace") if reply.status == 200 else ""


def histogram(metrics: str, name: str) -> Histogram:
    """One without labels, all zero where it is missing."""
    buckets, total_s, count = {}, 0.0, 0.0
    for line in metrics.splitlines():
        if line.startswith(f'{name}_bucket{{le="'):
            bound, _, value = line.partition('le="')[2].partition('"} ')
            buckets[float(bound)] = float(value)
        elif line.startswith(f"{name}_sum "):
            total_s = float(line.rpartition(" ")[2])
        elif line.startswith(f"{name}_count "):
            count = float(line.rpartition(" ")[2])
    return Histogram(buckets, total_s, count)
