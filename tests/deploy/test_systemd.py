"""The unit for systemd: known by systemd itself, as closed as it says, its settings known by the service."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings, unknown_variables

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = SYSTEMD / "shelfscore.service"
EXPOSURE = 15
"""In tenths, of systemd's scale from 0 (closed) to 10."""

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@analyze
def test_systemd_understands_every_line(tmp_path):
    # Only the program has to be here; everything else is as it stands.
    text = UNIT.read_text().replace("/opt/shelfscore/venv/bin/python", sys.executable)
    (tmp_path / UNIT.name).write_text(text)
    verified = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / UNIT.name))
    assert (verified.returncode, mentions_it(verified.stderr)) == (0, [])


@analyze
def test_systemd_names_a_setting_that_does_not_exist(tmp_path):
    (tmp_path / UNIT.name).write_text(UNIT.read_text().replace("PrivateTmp=", "PrivateTemp="))
    verified = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(tmp_path / UNIT.name))
    assert any("PrivateTemp" in line for line in mentions_it(verified.stderr))


@analyze
def test_systemd_finds_the_unit_closed(tmp_path):
    done = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", str(UNIT))
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_settings_are_known_and_accepted_by_the_service():
    lines = (SYSTEMD / "shelfscore.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert unknown_variables(given) == []
    settings = Settings(**{name.removeprefix("SHELFSCORE_").lower(): value for name, value in given.items()})
    timeout = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert timeout is not None
    assert int(timeout[1]) > (settings.drain_delay_ms + settings.drain_timeout_ms) / 1000


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def mentions_it(stderr):
    """What is said of the unit; systemd also speaks of those of the machine."""
    return [line for line in stderr.splitlines() if UNIT.name in line]
