"""The server's process is read from outside: by another process where this one must keep a schedule."""

import os
import subprocess
import sys
import time

import pytest

from loadtest.errors import LoadtestError
from loadtest.metering import MeterProcess, Reading, ServerProcess, used_between

BUSY = "import os\nkept = os.urandom(50_000_000)\nprint(flush=True)\nwhile True: pass"


@pytest.fixture
def busy():
    """A process of 50 MB that never rests, behind a shell that does nothing."""
    command = ["sh", "-c", '"$0" -c "$1"; true', sys.executable, BUSY]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    process.stdout.readline()
    yield process
    os.killpg(process.pid, 9)
    process.communicate()


def test_a_process_is_read_with_its_children(busy):
    server = ServerProcess(busy.pid)
    assert server.rss_bytes() > 50e6
    while server.cpu_s() < 0.05:
        time.sleep(0.01)


def test_what_is_not_known_or_gone_is_not_read():
    gone = subprocess.Popen(["true"])
    gone.wait()
    for process in (ServerProcess(None), ServerProcess(gone.pid)):
        assert process.rss_bytes() is None
        assert process.cpu_s() == 0


def test_another_process_reads_until_it_is_told_to_stop(busy):
    start_s = time.monotonic()
    meter = MeterProcess(busy.pid, interval_s=0.01)
    before_s = ServerProcess(busy.pid).cpu_s()
    while ServerProcess(busy.pid).cpu_s() < before_s + 0.05:
        time.sleep(0.01)
    readings = meter.stop()
    assert meter._process.returncode == 0
    assert len(readings) >= 2
    assert start_s < readings[0].at_s < readings[-1].at_s < time.monotonic()
    assert min(reading.rss_bytes for reading in readings) > 50e6
    assert readings[0].cpu_s <= readings[-1].cpu_s


def test_a_process_that_is_not_there_is_one_line():
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(LoadtestError, match=f"--pid: no process {gone.pid}"):
        MeterProcess(gone.pid)


def test_what_was_used_is_that_of_the_stretch():
    readings = [Reading(at_s, 0, size, at_s * 1.5) for at_s, size in ((0, 900), (2, 100), (3, 400), (6, 200), (9, 900))]
    used = used_between(readings, 1, 7)
    assert used.cores == pytest.approx(1.5)
    assert (used.first_bytes, used.last_bytes, used.most_bytes) == (100, 200, 400)
    assert used_between(readings, 1, 2.5) is None


def test_one_look_is_had_before_anything_is_sent_and_an_unreadable_process_is_one_line(busy):
    meter = MeterProcess(busy.pid, interval_s=1000.0)
    assert len(meter.stop()) == 1
    zombie = subprocess.Popen(["true"])
    try:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(LoadtestError, match=f"--pid: the process {zombie.pid} cannot be read"):
            MeterProcess(zombie.pid)
    finally:
        zombie.wait()
