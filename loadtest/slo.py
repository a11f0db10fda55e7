"""Becomes Locust: runs the locustfile with its options, quietly, bounded in time. The exit code is the locustfile's."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from .options import RunOptions

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
    # Settings of other Locust runs must not leak into this one.
    clean = {name: value for name, value in environment.items() if not name.startswith("LOCUST_")}
    root = str(Path(__file__).parent.parent)
    clean["PYTHONPATH"] = os.pathsep.join(filter(None, [root, clean.get("PYTHONPATH")]))
    os.execve(sys.executable, [sys.executable, *locust_argv(host, options)], clean)  # noqa: S606 - no shell is meant
