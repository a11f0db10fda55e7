"""What the server's process uses, read again and again while it is under load."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import psutil  # type: ignore[import-untyped]

from .errors import LoadtestError

_END_S = 5.0
_FIRST_S = 30.0


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A process and its children, by its id; None: not known."""

    pid: int | None

    def rss_bytes(self) -> int | None:
        """Resident memory; None where the process is not known or gone."""
        with suppress(psutil.Error):
            return int(sum(each.memory_info().rss for each in self._family())) or None
        return None

    def cpu_s(self) -> float:
        """User and system time since the start of each; 0 where the process is not known or gone."""
        with suppress(psutil.Error):
            return float(sum(spent.user + spent.system for spent in (each.cpu_times() for each in self._family())))
        return 0.0

    def descriptors(self) -> int | None:
        """Open file descriptors; None where they cannot be counted."""
        with suppress(psutil.Error):
            return int(sum(each.num_fds() for each in self._family())) or None
        return None

    def threads(self) -> int | None:
        """None where they cannot be counted."""
        with suppress(psutil.Error):
            return int(sum(each.num_threads() for each in self._family())) or None
        return None

    def _family(self) -> list[psutil.Process]:
        if self.pid is None:
            return []
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]


class Measured(Protocol):
    """What can be read: a ServerProcess, or what knows one."""

    def rss_bytes(self) -> int | None:
        """None where it is not known."""
        ...

    def cpu_s(self) -> float:
        """0 where it is not known."""
        ...

    def descriptors(self) -> int | None:
        """None where it is not known."""
        ...

    def threads(self) -> int | None:
        """None where it is not known."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What the server's process used at one time of the system's monotonic clock."""

    at_s: float
    ended: int
    """Requests that had ended by then."""
    rss_bytes: int
    cpu_s: float
    """Since it started."""
    descriptors: int | None = None
    """Open files and sockets; None where they were not counted."""
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """By the server over a stretch of time."""

    cores: float
    """CPU seconds a second."""
    first_bytes: int
    last_bytes: int
    most_bytes: int


def used_between(readings: Sequence[Reading], start_s: float, end_s: float) -> Used | None:
    """Of the readings within; None of fewer than two."""
    inside = [reading for reading in readings if start_s <= reading.at_s <= end_s]
    if len(inside) < 2:
        return None
    first, last = inside[0], inside[-1]
    cores = (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s)
    return Used(cores, first.rss_bytes, last.rss_bytes, max(reading.rss_bytes for reading in inside))


class Ticker:
    """Calls back at a fixed interval from a thread of its own. Leaving the block stops it."""

    def __init__(self, interval_s: float, tick: Callable[[float], None]) -> None:
        self._interval_s = interval_s
        self._tick = tick
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10.0)

    def _run(self) -> None:
        due_s = time.monotonic()
        while not self._stop.wait(max(0.0, due_s - time.monotonic())):
            self._tick(due_s)
            due_s += self._interval_s


class Meter:
    """Reads the process again and again."""

    def __init__(self, target: Measured, ended: Callable[[], int] = lambda: 0) -> None:
        self._target = target
        self._ended = ended
        self.readings: list[Reading] = []

    def tick(self, due_s: float) -> None:
        """Reads once; nothing where the process is not known."""
        rss_bytes = self._target.rss_bytes()
        if rss_bytes is not None:
            used = (self._target.cpu_s(), self._target.descriptors(), self._target.threads())
            self.readings.append(Reading(due_s, self._ended(), rss_bytes, *used))


class MeterProcess:
    """Reads a process from another process, so that a generator that lives in this one is never held up by it.

    Has read once when it is made.

    Args:
        pid: the server's.
        interval_s: between two readings.

    Raises:
        LoadtestError: there is no such process, or it cannot be read.
    """

    def __init__(self, pid: int, interval_s: float = 0.5) -> None:
        if not psutil.pid_exists(pid):
            raise LoadtestError(f"--pid: no process {pid}")
        self._file = tempfile.TemporaryFile("w+", encoding="ascii")  # noqa: SIM115 - lives as long as the process
        argv = [sys.executable, "-m", "loadtest.metering", str(pid), str(interval_s)]
        root = Path(__file__).parent.parent
        # A session of its own: Ctrl-C ends it by the end of its input.
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            argv, stdin=subprocess.PIPE, stdout=self._file, cwd=root, start_new_session=True
        )

        until_s = time.monotonic() + _FIRST_S
        while not os.fstat(self._file.fileno()).st_size:
            if self._process.poll() is not None or time.monotonic() > until_s:
                self.stop()
                raise LoadtestError(f"--pid: the process {pid} cannot be read")
            time.sleep(0.01)

    def stop(self) -> list[Reading]:
        """Ends it; what it read."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._file.seek(0)
        lines = [line.split() for line in self._file if line.endswith("\n")]
        self._file.close()
        return [Reading(float(at_s), 0, int(rss_bytes), float(cpu_s)) for at_s, rss_bytes, cpu_s in lines]


def main(argv: Sequence[str]) -> None:
    """Writes a reading a line, `PID INTERVAL_S`, until the input ends; nothing where the process cannot be read."""
    process = ServerProcess(int(argv[0]))
    if process.rss_bytes() is None:
        return

    def write(_: float) -> None:
        rss_bytes = process.rss_bytes()
        if rss_bytes is not None:
            sys.stdout.write(f"{time.monotonic()} {rss_bytes} {process.cpu_s()}\n")
            sys.stdout.flush()

    with Ticker(float(argv[1]), write):
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
