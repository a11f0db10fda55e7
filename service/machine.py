"""What this process was given: cores after affinity and cgroup quota, and its age."""

import os
import time
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROC = Path("/proc/self")


def available_cores(cgroup_root: Path = CGROUP_ROOT, proc: Path = PROC, affinity: int | None = None) -> int:
    """Whole cores that this process may use at once, at least one.

    The smallest of the CPU affinity and the quotas of its cgroup and that cgroup's ancestors, version 1 or 2.
    A quota is rounded down: a lane more than the quota pays for would be throttled in the middle of a request.
    """
    if affinity is None:
        affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([float(affinity), *_quotas(cgroup_root, proc)])))


def process_age_s(proc: Path = PROC) -> float | None:
    """Seconds since the kernel started this process; None where it does not say."""
    try:
        # Fields are counted after the command's name, which may hold spaces: starttime is the 22nd of the line.
        started_ticks = int((proc / "stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError, AttributeError):
        return None


def _quotas(cgroup_root: Path, proc: Path) -> list[float]:
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return []
    quotas: list[float] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folders = [cgroup_root, cgroup_root / "unified"]
        elif "cpu" in controllers.split(","):
            folders = [cgroup_root / "cpu", cgroup_root / controllers]
        else:
            continue
        for folder in folders:
            # Inside a container the path may be the host's: then only the root of the mount is visible.
            leaf = folder / path.lstrip("/")
            between = [leaf, *leaf.parents]
            quotas += [q for q in map(_quota, between[: between.index(folder) + 1]) if q is not None]
    return quotas


def _quota(folder: Path) -> float | None:
    """Cores that one cgroup folder grants, None where it grants all."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return int(quota) / int(period) if quota not in ("max", "-1") else None
    except (OSError, ValueError, ZeroDivisionError):
        return None
