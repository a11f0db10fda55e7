"""Runs the locustfile with its options, quietly, bounded in time. The exit code is the locustfile's."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from .errors import Exit
from .options import RunOptions
from .target import started

_GRACE_S = 30


def locust_argv(host: str, options: RunOptions) -> list[str]:
    """The command line of the run. Locust's own tables and logs stay out of the report."""
    bound_s = int(options.warmup_s + options.duration_s + options.request_timeout_s) + _GRACE_S
    locustfile = Path(__file__).with_name("locustfile.py")
    quiet = ["--headless", "--only-summary", "--skip-log-setup"]
    return ["-m", "locust", "-f", str(locustfile), *quiet, f"--host={host}", f"--run-time={bound_s}s", *options.argv()]


def become_locust(host: str, options: RunOptions, environment: Mapping[str, str]) -> NoReturn:
    """Replaces this process, so that signals reach Locust and its exit code is ours."""
    sys.stdout.flush()
    argv = [sys.executable, *locust_argv(host, options)]
    os.execve(sys.executable, argv, _clean(environment))  # noqa: S606 - no shell is meant


def gate_artifact(
    folder: Path,
    settings: Sequence[str],
    options: RunOptions,
    environment: Mapping[str, str],
    say: Callable[[str], object],
) -> int:
    """Starts our service on an artifact, runs the gate against it, and ends it. The exit code is the gate's.

    Raises:
        LoadtestError: the service does not start.
    """
    with started(folder, settings, environment, say) as target:
        own = replace(options, pid=target.pid or 0)
        gate = subprocess.Popen([sys.executable, *locust_argv(target.url, own)], env=_clean(environment))  # noqa: S603
        while True:
            try:
                code = gate.wait()
                # Ended by a signal before it could heed one.
                return code if code >= 0 else Exit.INTERRUPTED
            except KeyboardInterrupt:
                # From the terminal it reached Locust too, which reports what it has; a SIGTERM to this process did not.
                gate.terminate()


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    # Settings of other Locust runs must not leak into this one.
    clean = {name: value for name, value in environment.items() if not name.startswith("LOCUST_")}
    root = str(Path(__file__).parent.parent)
    clean["PYTHONPATH"] = os.pathsep.join(filter(None, [root, clean.get("PYTHONPATH")]))
    return clean
