"""Runs promtool: the installed one, or the one that `make prometheus` unpacked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "rules"
UNPACKED = ROOT / "build" / "prometheus" / "usr" / "bin" / "promtool"


def promtool(*arguments: str) -> str:
    """What it prints. Fails the test where it finds a fault; without a promtool the test is left out, but not in CI."""
    program = shutil.which("promtool") or (str(UNPACKED) if UNPACKED.is_file() else None)
    if program is None:
        missing = "no promtool: `make prometheus`, or install Debian's package prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
