"""A model, or the lane that runs it, that fails in the middle of its work. Planted in the service by a test setting."""

import os
import signal
import time
from collections.abc import Callable

from .fault import Fault, Run
from .raw import Answer, ask
from .scene import NotAsExpected, Scene, expect, only, statuses_of

_RUN = 20
"""The micro-batch that fails: behind those of the checks before."""

_RUNS = (_RUN, _RUN + 1)
"""Where micro-batches that ran together fail, each runs again alone: only a second failure costs a request."""

_MOST = 60
_HANG_MS = 6000
_SHORT = "x-request-timeout-ms: 500"


def exception(scene: Scene) -> str:
    """ONNX Runtime raises, twice in a row."""
    return _some_of_many(scene)


def lane_killed(scene: Scene) -> str:
    """A lane meets what ends a thread, twice in a row."""
    lanes = scene.metric("lanes")
    seen = _some_of_many(scene)
    alive = scene.metric("lanes_alive")
    expect(alive == lanes, f"{alive:g} of {lanes:g} lanes are left")
    return f"{seen}; {alive:g} of {lanes:g} lanes alive"


def nan(scene: Scene) -> str:
    """The model gives NaN."""
    answers = _until(scene, lambda answer: b"not_finite" in answer.body)
    contents = answers[-1].json()
    for score, reason in zip(contents["scores"], contents["reasons"], strict=True):
        expect((score is None) == (reason == "not_finite"), f"score {score} with reason {reason}")
    only(answers[-1], 200)
    expect(contents["complete"] is False, "it claims to be complete")
    expect(all(scene.is_golden(answer) for answer in answers[:-1]), "other answers with other scores")
    return f"200, null and not_finite for {contents['scores'].count(None)} of {len(contents['scores'])}; valid JSON"


def lane_hung(scene: Scene) -> str:
    """One lane of two hangs."""
    _until(scene, lambda answer: answer.status == 504, _SHORT)
    beside = [ask(scene.port, scene.golden()) for _ in range(5)]
    expect(all(map(scene.is_golden, beside)), f"beside it {statuses_of(beside)}")
    scene.wait_until("liveness 503", lambda: scene.status("/health/live") == 503)
    expect(scene.status("/health/ready") == 200, "not ready with a lane left")
    scene.wait_until("liveness 200", lambda: scene.status("/health/live") == 200)
    return f"504 at its deadline; beside it {statuses_of(beside)}; live 503 meanwhile, ready 200; live 200 after it"


def all_lanes_hung(scene: Scene) -> str:
    """Both hang."""
    _until(scene, lambda answer: answer.status == 504, _SHORT)
    answers = [ask(scene.port, scene.golden(_SHORT)) for _ in range(5)]
    expect(all(answer.status in (503, 504) for answer in answers), statuses_of(answers))
    scene.wait_until("readiness 503", lambda: scene.status("/health/ready") == 503)
    expect(scene.status("/health/live") == 503, "live without a lane")
    scene.wait_until("readiness 200", lambda: scene.status("/health/ready") == 200)
    return f"504, then {statuses_of(answers)}; live and ready 503 meanwhile; ready 200 after it"


def stop_with_lanes_hung(scene: Scene) -> str:
    """SIGTERM while both lanes hang for half a minute."""
    _until(scene, lambda answer: answer.status == 504, _SHORT)
    only(ask(scene.port, scene.golden(_SHORT)), 503, 504)
    started_s = time.monotonic()
    os.kill(scene.process.pid, signal.SIGTERM)
    code = scene.process.exit_code(10.0)
    took_s = time.monotonic() - started_s
    expect(code == 0, f"exit code {code} after {took_s:.1f} s")
    return f"exit 0 after {took_s:.1f} s"


def _some_of_many(scene: Scene) -> str:
    """Asks until the fault shows, and then some more: every other answer has its scores."""
    scene.planted_500s += len(_RUNS)
    answers = _until(scene, _has_failed)
    started_s = time.monotonic()
    answers += [ask(scene.port, scene.golden()) for _ in range(10)]
    expect(time.monotonic() - started_s < 10.0, "slow afterwards")
    others = [answer for answer in answers if not _has_failed(answer)]
    expect(len(answers) - len(others) <= len(_RUNS), statuses_of(answers))
    expect(all(map(scene.is_golden, others)), f"others: {statuses_of(others)}, not all with their scores")
    return statuses_of(answers)


def _has_failed(answer: Answer) -> bool:
    return answer.status == 500


def _until(scene: Scene, found: Callable[[Answer], bool], *headers: str) -> list[Answer]:
    answers = []
    for _ in range(_MOST):
        answers.append(ask(scene.port, scene.golden(*headers)))
        if found(answers[-1]):
            return answers
    raise NotAsExpected(f"the planted fault did not show: {statuses_of(answers)}")


def _fault(name: str, expectation: str, run: Run, *planted: str, ends: bool = False) -> Fault:
    settings = ("LANES=2", "MAX_TIMEOUT_MS=5000", "PLANTED_FAULTS=" + ",".join(planted))
    return Fault(name, "model and lanes", expectation, run, settings, alone=True, ends=ends)


_HUNG = f"lane-hung:{_HANG_MS}"

FAULTS = (
    _fault(
        "exception from ONNX Runtime",
        "500 for the requests of two micro-batches at most",
        exception,
        *(f"exception@{n}" for n in _RUNS),
    ),
    _fault("NaN from the model", "200, null and a reason for those products", nan, f"nan@{_RUN}"),
    _fault(
        "lane killed",
        "500 at once for the requests of two micro-batches at most, the lanes go on",
        lane_killed,
        *(f"lane-killed@{n}" for n in _RUNS),
    ),
    _fault(
        "lane hung",
        "504 at the deadline, the other lane serves, live 503 until it is over",
        lane_hung,
        f"{_HUNG}@{_RUN}",
    ),
    _fault(
        "all lanes hung",
        "503 or 504, live and ready 503 until it is over",
        all_lanes_hung,
        f"{_HUNG}@{_RUN}",
        f"{_HUNG}@{_RUN + 1}",
    ),
    _fault(
        "SIGTERM with all lanes hung",
        "exit 0 within 10 s",
        stop_with_lanes_hung,
        *(f"lane-hung:30000@{n}" for n in _RUNS),
        ends=True,
    ),
)
