"""What this process was given: cores after affinity and cgroup quota, memory, and its age."""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
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
    return max(1, int(min([float(affinity), *_limits(cgroup_root, proc, "cpu", _quota)])))


def memory_limit_bytes(cgroup_root: Path = CGROUP_ROOT, proc: Path = PROC) -> int | None:
    """Bytes beyond which the kernel kills this process; None where nothing but the machine's memory limits it.

    The smallest limit of its cgroup and that cgroup's ancestors, version 1 or 2.
    """
    limits = _limits(cgroup_root, proc, "memory", _memory_limit)
    # Version 1 says "none" by a number near the largest that there is.
    return min((int(limit) for limit in limits if limit < 1 << 60), default=None)


def resident_bytes(proc: Path = PROC) -> int:
    """Memory of this process alone that is in RAM.

    Pages of files, such as those of a states file that other replicas map too, are the kernel's: it drops them when it
    needs their room.
    """
    _, resident, of_files, *_ = (proc / "statm").read_text().split()
    return (int(resident) - int(of_files)) * os.sysconf("SC_PAGE_SIZE")


def alone_in_cgroup(cgroup_root: Path = CGROUP_ROOT, proc: Path = PROC) -> bool:
    """Whether no other process shares this one's cgroup, as in a container or a systemd unit of its own."""
    listed = _limits(cgroup_root, proc, "cpu", _other_processes, leaf_only=True)
    return bool(listed) and not any(listed)


def let_others_first() -> None:
    """Has the calling thread give way at once to any other of normal priority that wakes up (Linux, SCHED_IDLE).

    Threads that compute for milliseconds otherwise keep those that answer in microseconds waiting for a core.
    """
    if hasattr(os, "SCHED_IDLE"):
        # Some sandboxes forbid it: then it stays as it was.
        with suppress(OSError):
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))


def stay_on_core(number: int) -> None:
    """Keeps the calling thread on one of the cores that the process may use, counted round and round (Linux)."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        with suppress(OSError):
            os.sched_setaffinity(threading.get_native_id(), {cores[number % len(cores)]})


def process_age_s(proc: Path = PROC) -> float | None:
    """Seconds since the kernel started this process; None where it does not say."""
    try:
        # Fields are counted after the command's name, which may hold spaces: starttime is the 22nd of the line.
        started_ticks = int((proc / "stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError, AttributeError):
        return None


def _limits(
    cgroup_root: Path, proc: Path, controller: str, read: Callable[[Path], float | None], *, leaf_only: bool = False
) -> list[float]:
    """What `read` finds in the folder of the process's cgroup and, but for `leaf_only`, in those of its ancestors."""
    try:
        lines = (proc / "cgroup").read_text().splitlines()
    except OSError:
        return []
    limits: list[float] = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folders = [cgroup_root, cgroup_root / "unified"]
        elif controller in controllers.split(","):
            folders = [cgroup_root / controller, cgroup_root / controllers]
        else:
            continue
        for folder in folders:
            # Inside a container the path may be the host's: then only the root of the mount is visible.
            leaf = folder / path.lstrip("/")
            way_up = [leaf, *leaf.parents]
            way_up = way_up[: 1 if leaf_only else way_up.index(folder) + 1]
            limits += [found for found in map(read, way_up) if found is not None]
    return limits


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


def _memory_limit(folder: Path) -> float | None:
    """Bytes that one cgroup folder grants, None where it grants all."""
    for name in ("memory.max", "memory.limit_in_bytes"):
        try:
            text = (folder / name).read_text().strip()
            return None if text == "max" else int(text)
        except (OSError, ValueError):
            continue
    return None


def _other_processes(folder: Path) -> float | None:
    """How many processes of one cgroup folder are not this one, None where it does not say."""
    try:
        listed = (folder / "cgroup.procs").read_text().split()
    except OSError:
        return None
    return sum(pid != str(os.getpid()) for pid in listed)
