"""Signals: at rest, under load, while the model loads, twice, and by the hundred."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from ..generator.wire import wire_request
from ..promises.stopping import stop_under_load
from ..promises.workload import arrivals_of, open_plan
from .fault import Fault, Run
from .raw import Raw, ask
from .scene import Scene, expect, golden_body, only
from .witness import Witness

_RATE, _LOAD_S, _AFTER_S = 30.0, 2.0, 1.0


def idle(scene: Scene) -> str:
    """SIGTERM with nothing in work, and a connection open."""
    with Raw(scene.port) as raw:
        only(raw.send(scene.golden()).answer(), 200)
        seen = _stop(scene, 10.0)
        expect(raw.answer() is None, "an answer that nobody asked for")
    return seen


def under_load(scene: Scene) -> str:
    """SIGTERM under open-loop load: what was sent before it gets its answer."""
    endpoint = scene.target.endpoint
    plan = open_plan(
        endpoint,
        [wire_request(endpoint, golden_body(), len(scene.scores), {})],
        arrivals_of(_RATE, _LOAD_S + _AFTER_S, 1, 1),
    )
    stop = stop_under_load(scene.process, plan, _LOAD_S)
    expect(stop.exit_code == 0, f"exit code {stop.exit_code}")
    expect(not stop.lost, f"{len(stop.lost)} of {len(stop.before)} lost: {stop.lost[:1]}")
    return f"exit 0 after {stop.took_s:.1f} s; none of {len(stop.before)} lost, {stop.in_work} were in work"


def in_warm_up(scene: Scene) -> str:
    """SIGTERM while the model loads."""
    scene.wait_until("an answer from a service that loads", lambda: scene.status("/health/ready") == 503, 60.0)
    return _stop(scene, 20.0)


def at_birth(scene: Scene) -> str:
    """SIGTERM as soon as the process is there: before Python has begun, the signal itself ends it."""
    os.kill(scene.process.pid, signal.SIGTERM)
    code = scene.process.exit_code(20.0)
    expect(code in (0, -signal.SIGTERM), f"exit code {code}")
    return "ended by the signal" if code else "exit 0"


def twice(scene: Scene) -> str:
    """A second SIGTERM while the first one's delay runs."""
    os.kill(scene.process.pid, signal.SIGTERM)
    scene.wait_until("readiness 503", lambda: scene.status("/health/ready") == 503)
    refused = ask(scene.port, scene.golden())
    seen = only(refused, 503)
    expect("retry-after" in refused.headers, "503 without Retry-After")
    return f"{seen} after the first; after the second {_stop(scene, 10.0)}"


def twice_with_work(scene: Scene) -> str:
    """A second SIGTERM while a request is in work, which the first one waits for."""
    with Raw(scene.port) as raw:
        raw.send(scene.golden())
        scene.wait_until("a request in work", lambda: scene.metric("queued_products") > 0)
        os.kill(scene.process.pid, signal.SIGTERM)
        # A closed socket, too, says that the first one has been heard.
        scene.wait_until("readiness 503", lambda: scene.status("/health/ready") in (503, None))
        seen = _stop(scene, 20.0)
        answer = raw.answer()
    if answer is not None:
        only(answer, 200, 503)
    return f"{seen}; the request in work: {'connection closed' if answer is None else answer.status}"


def hangups(scene: Scene) -> str:
    """Three hundred SIGHUPs in a second or so, while requests come."""
    with Witness(scene) as witness:
        for _ in range(300):
            os.kill(scene.process.pid, signal.SIGHUP)
            time.sleep(0.003)
        scene.wait_until("nothing in the queue", lambda: scene.metric("ready") == 1)
    return f"the model stays; {witness}"


def hangups_at_birth(scene: Scene) -> str:
    """SIGHUPs from the moment that the program runs until it is ready."""
    # Before its first line runs, no program can help itself.
    scene.wait_until("the program's first lines", lambda: _heeds(scene.process.pid, signal.SIGHUP), 60.0)
    sent = 0
    while scene.status("/health/ready") != 200:
        with suppress(ProcessLookupError):
            os.kill(scene.process.pid, signal.SIGHUP)
        sent += 1
        code = scene.process.exit_code()
        expect(code is None, f"exit code {code} after {sent} signals")
        time.sleep(0.01)
    return f"ready all the same, after {sent} signals"


def _heeds(pid: int, number: signal.Signals) -> bool:
    """Whether a process catches or ignores a signal (Linux); without /proc, True."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return True
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigIgn:", "SigCgt:"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def _stop(scene: Scene, patience_s: float) -> str:
    started_s = time.monotonic()
    os.kill(scene.process.pid, signal.SIGTERM)
    code = scene.process.exit_code(patience_s)
    took_s = time.monotonic() - started_s
    expect(code == 0, f"exit code {code} after {took_s:.1f} s")
    return f"exit 0 after {took_s:.1f} s"


def _fault(name: str, expectation: str, run: Run, *settings: str, ends: bool = True, begins: bool = False) -> Fault:
    given = ("MAX_TIMEOUT_MS=5000", *settings)
    return Fault(name, "signals", expectation, run, given, alone=True, ends=ends, begins=begins)


FAULTS = (
    _fault("SIGTERM at rest", "exit 0", idle),
    _fault("SIGTERM under load", "what was sent before it is answered, exit 0", under_load),
    _fault("SIGTERM in warm-up", "exit 0", in_warm_up, "PLANTED_FAULTS=load-sleep:3000", begins=True),
    _fault("SIGTERM at birth", "exit 0, or by the signal before there is anybody to hear it", at_birth, begins=True),
    _fault("second SIGTERM", "503 after the first, exit 0 at once after the second", twice, "DRAIN_DELAY_MS=60000"),
    _fault(
        "second SIGTERM with work",
        "exit 0; the request is answered or its connection closed",
        twice_with_work,
        "LANES=1",
        "PLANTED_FAULTS=pace:2000",
    ),
    _fault("300 SIGHUPs", "all requests answered, the model stays", hangups, ends=False),
    _fault("SIGHUPs at birth", "ready all the same", hangups_at_birth, ends=False, begins=True),
)
