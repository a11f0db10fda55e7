"""Swaps of the model under load: the folder is a link, which is changed, and SIGHUP says so."""

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path

from ..client import Connection, Endpoint
from ..errors import LoadtestError
from ..generator.plan import OpenSample
from ..generator.process import Generator
from ..generator.wire import WireRequest
from ..measure import Outcome
from ..servers import Server
from ..target import start_service
from .starting import ready_after_s
from .verdict import Findings
from .watch import read_metrics
from .workload import arrivals_of, open_plan

FAILURE_METRIC = "shelfscore_model_swaps_total"
_SETTLE_S = 2.0
_PATIENCE_S = 20.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Swap:
    """One change of the link."""

    wanted: str
    took_s: float | None
    """Until /models showed the version; None if it never did."""
    rss_mb: float | None
    """Resident memory, a while later; None if the service ended."""


@dataclass(frozen=True, slots=True)
class SwapRun:
    """Everything that was seen."""

    swaps: Sequence[Swap]
    samples: Sequence[OpenSample]
    stood: bool
    """The loaded version went on after a change to a broken artifact."""
    failures_told: float
    """By how much the metric of failed swaps grew."""


def measure_swaps(
    findings: Findings,
    folder: Path,
    other: Path,
    settings: Sequence[str],
    environment: Mapping[str, str],
    logs: Path,
    requests: Callable[[Endpoint], list[WireRequest]],
    *,
    swaps: int,
    rate: float,
    seed: int,
    say: Callable[[str], object],
) -> None:
    """Swaps to and fro, then to a broken artifact, all under load.

    Raises:
        LoadtestError: both artifacts have the same version.
    """
    versions = {each: _version_of(each) for each in (folder, other)}
    if len(set(versions.values())) < 2:
        raise LoadtestError(f"{folder} and {other}: expected two versions, found {versions[folder]} twice")
    link = logs / "current"
    _point(link, folder)
    started_s = time.monotonic()
    server = start_service(link, settings, environment, logs / "swap.log", resolve=False)
    try:
        ready_after_s(server, started_s)
        endpoint = Endpoint.parse(server.url)
        made = requests(endpoint)
        duration_s = (swaps + 1) * (_SETTLE_S + _PATIENCE_S)
        plan = open_plan(endpoint, made, arrivals_of(rate, duration_s, len(made), seed))
        with Generator(plan) as generator:
            generator.wait_started()
            time.sleep(_SETTLE_S)
            done: list[Swap] = []
            for number in range(swaps):
                wanted = (other, folder)[number % 2]
                done.append(_swap(server, link, wanted, versions[wanted]))
                took = done[-1].took_s
                say(f"swap {number + 1} of {swaps}: " + ("never seen" if took is None else f"after {took:.2f} s"))
                if server.exit_code() is not None:
                    break
            # Of the version that is not loaded: a folder whose version is unchanged need not be read.
            broken = _broken_copy((other, folder)[swaps % 2], logs / "broken")
            stood, told = _swap_to_broken(server, endpoint, link, broken)
            say(f"broken artifact: {'the loaded one goes on' if stood else 'the service is disturbed'}")
            generator.stop()
            played = generator.wait()
    finally:
        server.stop()
    judge_swaps(findings, SwapRun(done, played.samples, stood, told))


def judge_swaps(findings: Findings, run: SwapRun) -> None:
    """All seen, no request failed, both versions answered, the broken artifact changed nothing and was told of."""
    took = [swap.took_s for swap in run.swaps if swap.took_s is not None]
    slowest = f", slowest {max(took):.2f} s" if took else ""
    findings.judge(
        "swaps seen on /models", f"{len(took)} of {len(run.swaps)}{slowest}", "all", len(took) == len(run.swaps)
    )
    failed = Counter(each.reason or "" for each in run.samples if each.outcome is Outcome.FAILED)
    reasons = "; ".join(f"{count} x {reason}" for reason, count in failed.most_common(3))
    total = len(run.samples)
    findings.judge(
        "swaps under load: failed requests, mixed versions",
        f"{failed.total()} of {total}{f' ({reasons})' if failed else ''}",
        "0",
        not failed,
    )
    seen = Counter(each.model_version for each in run.samples if each.outcome is Outcome.ACCEPTED)
    shown = ", ".join(f"{version} x {count}" for version, count in seen.most_common())
    findings.judge("versions that answered", shown or "none", "two", len(seen) == 2)
    findings.note("resident memory after each swap, MB", ", ".join(f"{swap.rss_mb or 0:.0f}" for swap in run.swaps))
    refused = Counter(str(each.outcome) for each in run.samples)
    findings.note("outcomes while swapping", ", ".join(f"{name} {count}" for name, count in refused.items()))
    findings.judge("a broken artifact: the loaded one goes on", "yes" if run.stood else "no", "yes", run.stood)
    findings.judge(
        f"a broken artifact: {FAILURE_METRIC} says so", f"{run.failures_told:+.0f}", "+1 or more", run.failures_told > 0
    )
    findings.raw["swap"] = asdict(run)


def failures_in(metrics: str) -> float:
    """Failed swaps that a metrics page tells of."""
    lines = (line for line in metrics.splitlines() if line.startswith(FAILURE_METRIC) and 'outcome="failed"' in line)
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _swap(server: Server, link: Path, folder: Path, version: str) -> Swap:
    asked_s = time.monotonic()
    _point(link, folder)
    os.kill(server.pid, signal.SIGHUP)
    endpoint = Endpoint.parse(server.url)
    took_s = None
    while took_s is None and time.monotonic() - asked_s < _PATIENCE_S and server.exit_code() is None:
        time.sleep(_POLL_S)
        if version in _loaded(endpoint):
            took_s = time.monotonic() - asked_s
    time.sleep(_SETTLE_S)
    return Swap(version, took_s, server.usage().rss_bytes / 1e6 if server.exit_code() is None else None)


def _swap_to_broken(server: Server, endpoint: Endpoint, link: Path, broken: Path) -> tuple[bool, float]:
    loaded, before = _loaded(endpoint), failures_in(read_metrics(endpoint))
    asked_s = time.monotonic()
    _point(link, broken)
    with suppress(ProcessLookupError):
        os.kill(server.pid, signal.SIGHUP)
    told = 0.0
    while not told and time.monotonic() - asked_s < _PATIENCE_S and server.exit_code() is None:
        time.sleep(_POLL_S)
        told = failures_in(read_metrics(endpoint)) - before
    time.sleep(_SETTLE_S)
    return bool(loaded) and server.exit_code() is None and _loaded(endpoint) == loaded, told


def _point(link: Path, folder: Path) -> None:
    """Changes a link in one step: at no time is there none."""
    fresh = link.with_name(link.name + ".next")
    fresh.symlink_to(folder.resolve(), target_is_directory=True)
    fresh.replace(link)


def _broken_copy(folder: Path, broken: Path) -> Path:
    """A copy whose model files have lost their end."""
    shutil.copytree(folder, broken)
    for model in broken.glob("*.onnx"):
        with model.open("r+b") as file:
            file.truncate(model.stat().st_size // 2)
    return broken


def _version_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError):
        raise LoadtestError(f"{folder}: expected an artifact folder with a version in its manifest.json") from None


def _loaded(endpoint: Endpoint) -> list[str]:
    connection = Connection(endpoint, 5.0)
    try:
        models = json.loads(connection.request("GET", "/models").body)["models"]
        return [str(model["version"]) for model in models]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return []
    finally:
        connection.close()
