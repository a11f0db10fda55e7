"""SIGTERM under load: every request that was sent before it gets an answer, and the process ends with 0 in time."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..client import Endpoint
from ..errors import ServerError
from ..generator.plan import OpenSample, Plan
from ..generator.process import Generator
from ..generator.wire import WireRequest
from ..measure import Outcome
from ..servers import Server
from ..target import start_service
from .starting import ready_after_s
from .verdict import Findings
from .workload import arrivals_of, open_plan

_AFTER_S = 3.0
_PATIENCE_S = 20.0


@dataclass(frozen=True, slots=True)
class Stop:
    """One SIGTERM. Times are seconds of the schedule."""

    signalled_s: float
    exit_code: int | None
    took_s: float
    samples: Sequence[OpenSample]

    @property
    def before(self) -> list[OpenSample]:
        """Sent before the signal."""
        return [sample for sample in self.samples if sample.sent_s < self.signalled_s]

    @property
    def lost(self) -> list[OpenSample]:
        """Sent before the signal, and not answered, or answered with neither scores nor a refusal."""
        return [sample for sample in self.before if sample.outcome is Outcome.FAILED]

    @property
    def in_work(self) -> int:
        """Sent before the signal and answered after it: those that a careless stop would lose."""
        return sum(sample.done_s >= self.signalled_s for sample in self.before)


def measure_stops(
    findings: Findings,
    folder: Path,
    settings: Sequence[str],
    environment: Mapping[str, str],
    logs: Path,
    requests: Callable[[Endpoint], list[WireRequest]],
    *,
    stops: int,
    rate: float,
    seed: int,
    max_drain_s: float,
    say: Callable[[str], object],
) -> None:
    """Starts, loads and stops the service again and again."""
    found: list[Stop] = []
    for number in range(stops):
        started_s = time.monotonic()
        server = start_service(folder, settings, environment, logs / f"stop-{number}.log")
        try:
            ready_after_s(server, started_s)
            endpoint = Endpoint.parse(server.url)
            made = requests(endpoint)
            # A fraction of a second apart, so that signals meet different moments of a request.
            load_s = 3.0 + 0.37 * number
            plan = open_plan(endpoint, made, arrivals_of(rate, load_s + _AFTER_S, len(made), seed + number))
            found.append(stop_under_load(server, plan, load_s))
        finally:
            server.stop()
        last = found[-1]
        say(
            f"stop {number + 1} of {stops}: exit {last.exit_code} after {last.took_s:.2f} s, "
            f"{len(last.lost)} of {len(last.before)} lost, {last.in_work} were in work"
        )
    judge_stops(findings, found, max_drain_s)


def stop_under_load(server: Server, plan: Plan, load_s: float) -> Stop:
    """Plays the plan, sends SIGTERM after `load_s`, and plays on."""
    with Generator(plan) as generator:
        start_s = generator.wait_started()
        time.sleep(max(0.0, start_s + load_s - time.monotonic()))
        signalled_s = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        code = server.exit_code(_PATIENCE_S)
        took_s = time.monotonic() - signalled_s
        played = generator.wait()
    if played.stopped:
        raise KeyboardInterrupt
    if not played.samples:
        raise ServerError("no request was sent")
    return Stop(signalled_s - start_s, code, took_s, played.samples)


def judge_stops(findings: Findings, stops: Sequence[Stop], max_drain_s: float) -> None:
    """No request lost, exit code 0, within the drain time."""
    lost = [sample for stop in stops for sample in stop.lost]
    before = sum(len(stop.before) for stop in stops)
    reasons = "; ".join(f"{count} x {reason}" for reason, count in Counter(s.reason for s in lost).most_common(3))
    findings.judge(
        f"SIGTERM under load: lost of {before} sent before it",
        f"{len(lost)}{f' ({reasons})' if lost else ''}; {sum(stop.in_work for stop in stops)} were in work",
        "0",
        not lost,
    )
    codes = [stop.exit_code for stop in stops]
    shown = ", ".join("none" if code is None else str(code) for code in codes)
    findings.judge("SIGTERM under load: exit codes", shown, "0", all(code == 0 for code in codes))
    slowest_s = max(stop.took_s for stop in stops)
    findings.judge(
        "SIGTERM under load: slowest end",
        f"{slowest_s:.2f} s",
        f"at most {max_drain_s:g} s",
        slowest_s <= max_drain_s,
    )
    after = [sample for stop in stops for sample in stop.samples if sample.sent_s >= stop.signalled_s]
    kinds = Counter(_kind(sample) for sample in after)
    findings.note(
        "sent after the signal", ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "none"
    )
    findings.raw["stops"] = [asdict(stop) for stop in stops]


def _kind(sample: OpenSample) -> str:
    if sample.status is not None:
        return str(sample.status)
    return "refused" if (sample.reason or "").startswith("no connection") else "broken"
