"""What the service stands on fails: the disk for its logs, their reader, file descriptors, the clock, the processor."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from ..servers import Server
from .fault import QUICK, Fault, Run, Starter
from .raw import Raw, ask, get, head
from .scene import NotAsExpected, Scene, expect, golden_body, only, statuses_of
from .witness import Witness

_DAY = timedelta(days=1)
_JUMPING = Path(__file__).parents[1] / "peers" / "jumping.py"
_CLOCK_FILE = "clock"
_BUSY_S = 4.0
_FROZEN_S = 2.0


def disk_full(scene: Scene) -> str:
    """Every line of the log meets a full disk."""
    with Witness(scene) as witness:
        answers = [ask(scene.port, scene.golden()) for _ in range(20)]
        # Errors are logged with more than a line.
        answers += [ask(scene.port, get("/nowhere")) for _ in range(20)]
    expect({answer.status for answer in answers} == {200, 404}, statuses_of(answers))
    dropped = scene.metric("dropped_log_lines")
    expect(dropped > 0, "no line is counted as dropped")
    code = _terminate(scene)
    expect(code == 0, f"SIGTERM afterwards: exit code {code}")
    return f"{statuses_of(answers)}; {dropped:g} lines dropped and counted; {witness}; SIGTERM: exit 0"


def unread_pipe(scene: Scene) -> str:
    """The log's reader has stopped reading; a pipe holds 64 KiB."""
    line = "x-request-id: " + "x" * 128
    with Witness(scene) as witness, Raw(scene.port) as raw:
        for sent in range(2000):
            only(raw.send(head("/health/live", "GET", line)).answer(), 200)
            if sent % 100 == 99 and scene.metric("dropped_log_lines"):
                break
    dropped = scene.metric("dropped_log_lines")
    expect(dropped > 0, "no line was dropped: the pipe never filled up")
    code = _terminate(scene)
    expect(code == 0, f"SIGTERM afterwards: exit code {code}")
    return f"{sent + 1} x 200, {dropped:g} lines dropped and counted; {witness}; SIGTERM: exit 0"


def no_descriptors(scene: Scene) -> str:
    """The process may open no more than a few files, and a hundred connections come."""
    pid = scene.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with Witness(scene) as witness, Raw(scene.port) as kept:
        only(kept.send(scene.golden()).answer(), 200)
        limit = psutil.Process(pid).num_fds() + 16
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, before[1]))
        cpu_s, started_s = scene.target.cpu_s(), time.monotonic()
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(Raw(scene.port)) for _ in range(100)]
            seen = [only(kept.send(scene.golden()).answer(), 200) for _ in range(10)]
            closed = sum(raw.poll(0.05) for raw in crowd)
            time.sleep(1.0)
            load = (scene.target.cpu_s() - cpu_s) / (time.monotonic() - started_s)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    expect(closed > 0, "every connection was accepted: the limit did not bite")
    scene.wait_until("a connection", lambda: scene.status("/health/live") == 200)
    return f"{len(seen)} x 200 on an open connection, {closed} of 100 turned away; {load:.1f} cores used; {witness}"


def clock_jumps(scene: Scene) -> str:
    """The wall clock goes a day ahead, then a day back, in the middle of requests."""
    file = Path(scene.process.log).with_name(_CLOCK_FILE)
    how = "Python's clock" if _JUMPING.name in " ".join(psutil.Process(scene.process.pid).cmdline()) else "libfaketime"
    body = golden_body()
    with Witness(scene) as witness:
        for days in (1, -1, 0):
            # One request is in the middle of its body, another one's time is to run out.
            with Raw(scene.port) as whole, Raw(scene.port) as late:
                length = f"content-length: {len(body)}"
                whole.send(head("/score", "POST", length) + body[:10])
                late.send(head("/score", "POST", length, "x-request-timeout-ms: 1000") + body[:10])
                _set_clock(file, days)
                scene.wait_until(f"a date {days:+d} days off", partial(_is_off, scene, days))
                answer = whole.send(body[10:]).answer()
                expect(answer is not None and scene.is_golden(answer), f"{days:+d} days: {statuses_of([answer])}")
                only(late.answer(), 504)
    return f"200 and 504 as without it, at +1 and -1 day, by {how}; {witness}"


def busy_neighbour(scene: Scene) -> str:
    """Twice as many busy processes as cores, while requests with deadlines come."""
    statuses: list[int | str] = []
    burn = f"import time\nend = time.monotonic() + {_BUSY_S}\nwhile time.monotonic() < end: pass"
    command = [sys.executable, "-c", burn]
    burners = [subprocess.Popen(command) for _ in range(2 * (os.cpu_count() or 1))]  # noqa: S603 - our own command

    def call() -> None:
        # A request that is refused, cut off or never answered ends its caller: it must not end unheard.
        try:
            with Raw(scene.port) as raw:
                while any(burner.poll() is None for burner in burners):
                    answer = raw.send(scene.golden("x-request-timeout-ms: 200")).answer()
                    statuses.append("closed" if answer is None else answer.status)
                    if answer is None:
                        return
        except (OSError, ValueError) as error:
            statuses.append(f"{type(error).__name__}: {error}")

    callers = [threading.Thread(target=call, daemon=True) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60.0)
    for burner in burners:
        burner.kill()
        burner.wait()
    shown = ", ".join(f"{statuses.count(each)} x {each}" for each in sorted(set(statuses), key=str))
    expect(not any(caller.is_alive() for caller in callers), f"a request without an answer; {shown}")
    expect(bool(statuses) and set(statuses) <= {200, 503, 504}, shown or "no request was sent")
    return shown


def frozen(scene: Scene) -> str:
    """The whole process stands still for two seconds, as when its machine is moved."""
    with Raw(scene.port) as raw, Raw(scene.port) as other:
        os.kill(scene.process.pid, signal.SIGSTOP)
        try:
            raw.send(scene.golden())
            other.send(head("/score", "POST", "content-length: 100"))
            time.sleep(_FROZEN_S)
        finally:
            os.kill(scene.process.pid, signal.SIGCONT)
        seen = only(raw.answer(), 200, 503, 504)
    return f"{seen} for what was sent meanwhile"


def _terminate(scene: Scene) -> int | None:
    os.kill(scene.process.pid, signal.SIGTERM)
    return scene.process.exit_code(20.0)


def _start_on_full_disk(starter: Starter) -> Server:
    return starter.start(log=Path("/dev/full"))


def _start_on_unread_pipe(starter: Starter) -> Server:
    path = starter.folder / "pipe"
    os.mkfifo(path)
    # Open for reading, or it could not be opened for writing; and never read.
    starter.stack.callback(os.close, os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    return starter.start(log=path)


def _start_with_clock(starter: Starter) -> Server:
    file = starter.folder / _CLOCK_FILE
    _set_clock(file, 0)
    if starter.faketime is None:
        return starter.start(launcher=[str(_JUMPING), str(file)])
    return starter.start(
        variables={
            "LD_PRELOAD": str(starter.faketime),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
    )


def _set_clock(file: Path, days: int) -> None:
    aside = file.with_suffix(".next")
    aside.write_text(f"{days * _DAY.total_seconds():+.0f}")
    aside.replace(file)


def _days_off(scene: Scene) -> int:
    """By what its answers say."""
    date = ask(scene.port, get("/health/live")).headers.get("date")
    if date is None:
        raise NotAsExpected("answers carry no date: whether the clock has jumped cannot be seen")
    return round((parsedate_to_datetime(date).timestamp() - time.time()) / _DAY.total_seconds())


def _is_off(scene: Scene, days: int) -> bool:
    return _days_off(scene) == days


def _fault(name: str, expectation: str, run: Run, *settings: str) -> Fault:
    return Fault(name, "surroundings", expectation, run, (*QUICK, *settings), alone=True)


FAULTS = (
    Fault(
        "disk full for logs",
        "surroundings",
        "lines are dropped and counted, all requests answered, exit 0",
        disk_full,
        (*QUICK, "LOG_LEVEL=info", "LOG_RATE=1"),
        alone=True,
        ends=True,
        start=_start_on_full_disk,
    ),
    Fault(
        "log pipe that nobody reads",
        "surroundings",
        "lines are dropped and counted, all requests answered, exit 0",
        unread_pipe,
        (*QUICK, "LOG_LEVEL=info", "LOG_RATE=1"),
        alone=True,
        ends=True,
        start=_start_on_unread_pipe,
    ),
    _fault("file descriptors exhausted", "open connections served, others turned away", no_descriptors),
    Fault(
        "wall clock jumps a day",
        "surroundings",
        "deadlines do not notice",
        clock_jumps,
        QUICK,
        alone=True,
        start=_start_with_clock,
    ),
    _fault("busy neighbour", "200, 503 or 504, no other", busy_neighbour),
    _fault("process frozen for 2 s", "200, 503 or 504, then as before", frozen),
)
