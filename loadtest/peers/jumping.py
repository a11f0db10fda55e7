"""Runs a module as `python -m` does, with a wall clock that jumps: `jumping.py FILE -m MODULE ARGS...`

FILE holds seconds by which `time.time` is off; the empty file is 0. For the clock fault, where libfaketime is not at
hand: it fakes what Python code reads through `time.time` and `time.time_ns`, and nothing below.
"""

import runpy
import sys
import time
from pathlib import Path


def jump(file: Path) -> None:
    """From here on the wall clock is off by what the file says."""
    real_time, real_time_ns = time.time, time.time_ns

    def offset_s() -> float:
        return float(file.read_text() or 0)

    time.time = lambda: real_time() + offset_s()
    time.time_ns = lambda: real_time_ns() + int(offset_s() * 1e9)


def main(argv: list[str]) -> None:
    """Does it."""
    file, flag, module, *arguments = argv
    if flag != "-m":
        raise SystemExit("expected FILE -m MODULE")
    jump(Path(file))
    sys.path[0] = ""
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
