"""Starts servers as subprocesses, waits until they are ready, reads what they use, and stops them by their pids."""

import random
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Self

import psutil  # type: ignore[import-untyped]

from .client import Connection, Endpoint
from .errors import ServerError

_POLL_S = 0.1
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a server and its children."""

    rss_bytes: int
    cpu_s: float
    """User and system time since it started."""
    threads: int


class Server:
    """A server process of our own. What it prints goes to `log`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._process = process
        self._psutil = psutil.Process(process.pid)
        self.port = port
        self.log = log

    @classmethod
    def start(cls, argv: Sequence[str], port: int, environment: Mapping[str, str], log: Path) -> Self:
        """Starts it in a session of its own, so that Ctrl-C reaches us and not it.

        Raises:
            ServerError: the program cannot be started.
        """
        try:
            with log.open("wb") as output:
                process = subprocess.Popen(  # noqa: S603 - the user's own command line
                    argv,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise ServerError(f"cannot start {argv[0]}: {error}") from None
        return cls(process, port, log)

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def exit_code(self, wait_s: float = 0.0) -> int | None:
        """None while it runs, and if it does not end within `wait_s`."""
        try:
            return self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return None

    def wait_ready(self, path: str, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> float:
        """Polls `path` until it answers 200. Returns the seconds that it took.

        Raises:
            ServerError: it died, or was not ready in time.
        """
        start = clock()
        answer = "no answer"
        while clock() - start < timeout_s:
            if (code := self.exit_code()) is not None:
                raise ServerError(f"died with exit code {code} before it was ready")
            connection = Connection(Endpoint.parse(self.url), timeout_s=5.0)
            try:
                status = connection.request("GET", path).status
            except (OSError, HTTPException):
                pass
            else:
                if status == 200:
                    return clock() - start
                answer = f"status {status}"
            finally:
                connection.close()
            time.sleep(_POLL_S)
        raise ServerError(f"not ready within {timeout_s:g} s: {answer} to GET {path}")

    def usage(self) -> Usage:
        """What it uses.

        Raises:
            ServerError: it is gone.
        """
        try:
            family = [self._psutil, *self._psutil.children(recursive=True)]
            times = [process.cpu_times() for process in family]
            return Usage(
                rss_bytes=sum(process.memory_info().rss for process in family),
                cpu_s=sum(spent.user + spent.system for spent in times),
                threads=sum(process.num_threads() for process in family),
            )
        except psutil.Error as error:
            raise ServerError(f"its process is gone: {error}") from None

    def last_lines(self, count: int = 15) -> list[str]:
        """The end of what it printed."""
        with self.log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - (64 << 10)))
            return file.read().decode("utf-8", "replace").splitlines()[-count:]

    def stop(self) -> None:
        """Asks it to end, waits, and kills what is left of it and its children."""
        try:
            family = self._psutil.children(recursive=True)
        except psutil.Error:
            family = []
        if self.exit_code() is None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for child in family:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue


def free_port(first: int | None = None, last: int | None = None) -> int:
    """A port of 127.0.0.1 that nobody listens on, within a range if one is given: any of it, as others look too.

    Raises:
        ServerError: the range has none.
    """
    candidates = [0] if first is None or last is None else random.sample(range(first, last + 1), last + 1 - first)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServerError(f"no free port from {first} to {last}")
