"""How long a start takes: from executing the process to 200 on /health/ready."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from ..client import Connection, Endpoint
from ..errors import ServerError
from ..servers import Server
from ..target import start_service
from .verdict import Findings

_POLL_S = 0.01
_TIMEOUT_S = 60.0


def ready_after_s(
    server: Server, started_s: float, clock: Callable[[], float] = time.monotonic, timeout_s: float = _TIMEOUT_S
) -> float:
    """Polls closely until it is ready. Seconds since `started_s` of the clock.

    Raises:
        ServerError: it died, or was not ready in time.
    """
    endpoint = Endpoint.parse(server.url)
    while clock() - started_s < timeout_s:
        if (code := server.exit_code()) is not None:
            raise ServerError("\n".join([f"died with exit code {code} before it was ready", *server.last_lines(5)]))
        connection = Connection(endpoint, 5.0)
        with suppress(OSError, HTTPException):
            if connection.request("GET", "/health/ready").status == 200:
                connection.close()
                return clock() - started_s
        connection.close()
        time.sleep(_POLL_S)
    raise ServerError(f"not ready within {timeout_s:g} s")


def measure_starts(
    findings: Findings,
    folder: Path,
    settings: Sequence[str],
    environment: Mapping[str, str],
    logs: Path,
    *,
    starts: int,
    max_ready_s: float,
    say: Callable[[str], object],
) -> None:
    """Starts and stops the service again and again, and judges the slowest start."""
    took: list[float] = []
    for number in range(starts):
        started_s = time.monotonic()
        server = start_service(folder, settings, environment, logs / f"start-{number}.log")
        try:
            took.append(ready_after_s(server, started_s))
        finally:
            server.stop()
        say(f"start {number + 1} of {starts}: ready after {took[-1]:.2f} s")
    judge_starts(findings, took, max_ready_s)


def judge_starts(findings: Findings, took_s: Sequence[float], max_ready_s: float) -> None:
    """The slowest must be in time."""
    listed = ", ".join(f"{seconds:.2f}" for seconds in sorted(took_s))
    findings.judge(
        f"ready after a start, slowest of {len(took_s)}",
        f"{max(took_s):.2f} s ({listed})",
        f"at most {max_ready_s:g} s",
        max(took_s) <= max_ready_s,
    )
    findings.raw["ready_s"] = list(took_s)
