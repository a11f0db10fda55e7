"""One drill an alert: what is broken on purpose, and what its runbook has somebody do about it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..client import Endpoint
from ..errors import LoadtestError
from ..generator.wire import WireRequest, wire_request
from ..traffic.requests import make_request
from ..traffic.synthetic import synthetic_requests
from .stage import Stage

_ROOT = Path(__file__).parents[2]
_REQUESTS = 200
_RUNS = range(20, 420)
"""The micro-batches that a planted fault of the model hits."""


@dataclass(frozen=True, slots=True)
class Drill:
    """For one alert.

    Attributes:
        alert: its name.
        page: its runbook's file name.
        planted, remedy: in words.
        begin: starts the replicas; nothing is wrong with them.
        plant: breaks something.
        mend: does what the runbook says.
        rate: requests a second to the first replica, and to a second one named `b` where there is one.
        products, deadline_ms: of each request.
        labels: that the alert has to have, beside the namespace.
        strange: its requests are those of `requests_of`.
    """

    alert: str
    page: str
    planted: str
    remedy: str
    begin: Callable[[Stage], object]
    plant: Callable[[Stage], object]
    mend: Callable[[Stage], object]
    rate: float = 15.0
    products: int = 8
    deadline_ms: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    strange: bool = False

    def requests(self, endpoint: Endpoint) -> list[WireRequest]:
        """Synthetic ones."""
        return requests_of(endpoint, self.products, self.deadline_ms, strange=self.strange)


def link_of(stage: Stage) -> Path:
    """A link of the stage's own, to its artifact at first."""
    link = stage.folder / f"{stage.namespace}-current"
    if not link.is_symlink():
        link.symlink_to(stage.artifact.resolve(), target_is_directory=True)
    return link


def _point(stage: Stage, folder: Path) -> None:
    fresh = stage.folder / f"{stage.namespace}-next"
    fresh.symlink_to(folder.resolve(), target_is_directory=True)
    fresh.replace(link_of(stage))
    server = stage.places["a"].server
    assert server is not None
    os.kill(server.pid, signal.SIGHUP)


def _break_folder(stage: Stage) -> None:
    """A copy of the artifact that its manifest does not fit, and of whose models the second half is gone."""
    broken = stage.folder / f"{stage.namespace}-broken"
    shutil.copytree(stage.artifact, broken)
    manifest = broken / "manifest.json"
    contents = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.write_text(json.dumps({**contents, "version": "0" * len(contents["version"])}), encoding="utf-8")
    for model in broken.glob("*.onnx"):
        os.truncate(model, model.stat().st_size // 2)
    _point(stage, broken)


def _healthy(*settings: str) -> Callable[[Stage], object]:
    return lambda stage: stage.serve(*settings)


def _faulty(faults: str, *settings: str, ready: bool = True) -> Callable[[Stage], object]:
    return lambda stage: stage.serve(f"PLANTED_FAULTS={faults}", *settings, ready=ready)


def _each(kind: str) -> str:
    return ",".join(f"{kind}@{run}" for run in _RUNS)


def _with_canary(stage: Stage) -> None:
    stage.serve()
    stage.serve(name="b", track="canary")


def _die_three_times(stage: Stage) -> None:
    for _ in range(3):
        stage.kill()
        stage.serve()


def _serve_with_shadow(stage: Stage, shadow: Path) -> None:
    stage.serve(f"MODELS=candidate={shadow.resolve()}", "SHADOW_MODEL=candidate", "SHADOW_RATE=1")


DRILLS: Sequence[Drill] = (
    Drill(
        "ShelfscoreAbsent",
        "absent.md",
        "the only replica is ended",
        "started again",
        _healthy(),
        lambda stage: stage.stop(),
        _healthy(),
    ),
    Drill(
        "ShelfscoreReplicaNotReady",
        "replica-not-ready.md",
        "a second replica that takes a minute to load its model",
        "taken out, then started without that",
        lambda stage: (stage.serve(), stage.serve(name="b")),
        lambda stage: stage.serve("PLANTED_FAULTS=load-sleep:60000", name="b", ready=False),
        lambda stage: stage.serve(name="b"),
    ),
    Drill(
        "ShelfscoreAvailabilityBudgetBurn",
        "availability-budget-burn.md",
        "a release whose micro-batches take 150 ms, callers who wait for 100",
        "rolled back",
        _healthy(),
        _faulty("pace:150"),
        _healthy(),
        deadline_ms=100,
        labels={"burn": "fast"},
    ),
    Drill(
        "ShelfscoreLatencyBudgetBurn",
        "latency-budget-burn.md",
        "a release that sleeps 80 ms in its handler",
        "rolled back",
        _healthy(),
        _faulty("handler-sleep:80"),
        _healthy(),
        labels={"burn": "fast"},
    ),
    Drill(
        "ShelfscoreSaturated",
        "saturated.md",
        "one lane whose micro-batches take 60 ms, 30 requests a second",
        "four lanes and no such pace, as more replicas would give",
        _healthy("LANES=1"),
        _faulty("pace:60", "LANES=1"),
        _healthy("LANES=4"),
        rate=30.0,
    ),
    Drill(
        "ShelfscoreLaneStuck",
        "lane-stuck.md",
        "one lane of two hangs for five minutes",
        "the replica restarted",
        _healthy("LANES=2"),
        _faulty("lane-hung:300000@20", "LANES=2"),
        _healthy("LANES=2"),
    ),
    Drill(
        "ShelfscoreBrokenScores",
        "broken-scores.md",
        "the model gives NaN, 400 times",
        "restarted on the model before",
        _healthy(),
        _faulty(_each("nan")),
        _healthy(),
    ),
    Drill(
        "ShelfscoreSwapFailed",
        "swap-failed.md",
        "the link is pointed at a damaged artifact",
        "the link pointed back, SIGHUP",
        lambda stage: stage.serve(artifact=link_of(stage)),
        _break_folder,
        lambda stage: _point(stage, stage.artifact),
    ),
    Drill(
        "ShelfscoreCanaryWorse",
        "canary-worse.md",
        "a canary that sleeps 80 ms in its handler",
        "the canary taken out",
        _with_canary,
        lambda stage: stage.serve("PLANTED_FAULTS=handler-sleep:80", name="b"),
        lambda stage: stage.withdraw("b"),
    ),
    Drill(
        "ShelfscoreRestarting",
        "restarting.md",
        "killed three times",
        "left alone",
        _healthy(),
        _die_three_times,
        lambda _: None,
    ),
)


def shadow_drill(other: Path) -> Drill:
    """With a model that scores otherwise than the served one."""
    return Drill(
        "ShelfscoreShadowDiffers",
        "shadow-differs.md",
        "another model as the shadow, which had been the served one itself",
        "the shadow taken off",
        lambda stage: _serve_with_shadow(stage, stage.artifact),
        lambda stage: _serve_with_shadow(stage, other),
        _healthy(),
    )


def drift_drill(usual_s: float = 110.0) -> Drill:
    """Takes a baseline of usual traffic first, for so many seconds; then the strange one comes."""
    return Drill(
        "ShelfscoreDrift",
        "drift.md",
        "a baseline saved of usual traffic, then traffic whose words are spelt backwards",
        "a baseline saved of the other traffic, as if it were there to stay",
        lambda stage: _take_baseline(stage, usual_s),
        lambda _: None,
        _save_and_restart,
        products=32,
        strange=True,
    )


def requests_of(
    endpoint: Endpoint, products: int, deadline_ms: int | None = None, *, strange: bool = False
) -> list[WireRequest]:
    """Synthetic requests; of `strange` ones all words are spelt backwards."""
    headers = {} if deadline_ms is None else {"x-request-timeout-ms": str(deadline_ms)}
    made = []
    for query, listed in synthetic_requests(_REQUESTS, products, 1):
        if strange:
            listed = [{name: text[::-1] for name, text in product.items()} for product in listed]
        body = make_request(query[::-1] if strange else query, listed).body
        made.append(wire_request(endpoint, body, products, headers))
    return made


def _take_baseline(stage: Stage, usual_s: float) -> None:
    stage.serve()
    with stage.callers(lambda endpoint: requests_of(endpoint, 32), 15.0):
        time.sleep(usual_s)
    _save_and_restart(stage)


def _save_and_restart(stage: Stage) -> None:
    """What docs/drift.md says: the window as the reference."""
    place = stage.places["a"]
    baseline = stage.folder / f"{stage.namespace}-{place.starts}.json"
    argv = [sys.executable, "-m", "service", "drift-report", "--url", f"http://127.0.0.1:{place.port}"]
    done = subprocess.run(  # noqa: S603 - the service's own command
        [*argv, "--save-reference", str(baseline)], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    if not baseline.is_file():
        raise LoadtestError(f"no baseline was saved: {done.stderr.strip() or done.stdout.strip()}")
    stage.serve(f"DRIFT_REFERENCE={baseline}")
