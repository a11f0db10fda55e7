"""The properties that the tests state, with far more examples than the tests take time for, and fresh ones."""

import random
import subprocess
import sys
import time
from pathlib import Path

from .guided import ROOT

FOLDERS = ("artifact", "service", "fuzz")
NOTHING_COLLECTED = 5


def run_properties(*, seed: int, seconds: int) -> int:
    """Runs the hypothesis tests file by file, in the seed's order, until the time is up. Returns 0 or 1."""
    until = time.monotonic() + seconds
    order = random.Random(seed)
    files = [
        path
        for folder in FOLDERS
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
        if "hypothesis" in path.read_text()
    ]
    runs = 0
    while True:
        for path in order.sample(files, len(files)):
            left_s = until - time.monotonic()
            if left_s <= 0:
                print(f"{runs} runs over {len(files)} files")
                return 0
            if _run(path, order.randrange(2**31), left_s):
                return 1
            runs += 1


def _run(path: Path, seed: int, timeout_s: float) -> int:
    options = ["-q", "-x", "-m", "hypothesis", "-p", "no:cacheprovider", "--timeout=0"]
    options += ["--hypothesis-profile=long", f"--hypothesis-seed={seed}"]
    name = str(path.relative_to(ROOT))
    print(f"pytest {name} --hypothesis-profile=long --hypothesis-seed={seed}", flush=True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", name, *options],
            cwd=ROOT,
            timeout=timeout_s,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        print("stopped: the time is up")
        return 0
    if done.returncode in (0, NOTHING_COLLECTED):
        return 0
    print(done.stdout + done.stderr)
    return 1
