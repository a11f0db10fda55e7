"""Regressions of the service that nobody announces, each caught by the gate, and its control, which holds.

The service's lanes are paced: no micro-batch takes less than so many milliseconds, and none of these much more on any
machine. What the service can carry is known before, and does not depend on how fast the tests run.
"""

import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from loadtest.target import start_service

from ..service.tiny_model import build_tiny_artifact

PACE_MS = 50
PRODUCTS = 2
# A micro-batch holds one product, and none joins another request's: 20 requests of two products a second at most.
SETTINGS = ("LANES=2", "BATCH_TOKENS=1", "LANE_PRIORITY=normal", "MAX_BACKLOG_MS=5000", "MAX_TIMEOUT_MS=5000")
CARRIED_PER_S = 2 * 1000 / (PACE_MS * PRODUCTS)
# The generator shares the machine with whatever else runs there; what it was late by is in no gate here.
PATIENT = ("--max-lag-ms=60000", f"--products={PRODUCTS}", "--requests=20")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    build_tiny_artifact(folder, tmp_path_factory.mktemp("scratch"))
    return folder


class Gated(NamedTuple):
    code: int
    words: str
    report: dict[str, Any]


@pytest.fixture
def gate(artifact, loadtest, tmp_path):
    """Starts a service with faults planted, runs the gate against it, and says what it said."""
    number = itertools.count()

    def run(planted, *options):
        settings = [*SETTINGS, "PLANTED_FAULTS=" + ",".join(filter(None, (f"pace:{PACE_MS}", planted)))]
        folder = tmp_path / str(next(number))
        folder.mkdir()
        server = start_service(artifact, settings, dict(os.environ), folder / "service.log")
        try:
            server.wait_ready("/health/ready", 60)
            done = loadtest("slo", "--host", server.url, *PATIENT, "--json", folder / "slo.json", *options)
        finally:
            server.stop()
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return Gated(done.returncode, done.stdout, json.loads((folder / "slo.json").read_text()))

    return run


@pytest.fixture
def gates(gate):
    """The same twice at once, without and with a fault: both meet the same neighbours."""

    def run(planted, *options):
        with ThreadPoolExecutor(2) as pool:
            clean, broken = pool.map(lambda fault: gate(fault, *options), ("", planted))
        return clean, broken

    return run


def test_a_sleep_of_20_ms_in_the_handler_breaks_the_median_of_a_clean_run(gate, gates):
    # One product each, and seldom: nobody waits for another.
    load = ("--products=1", "--rate=5", "--duration=8", "--warmup=1", "--p99-ms=0", "--max-error-rate=0.05")
    calibration = gate("", *load)
    median_ms = calibration.report["summary"]["latency_ms"]["p50"]
    assert median_ms > PACE_MS, calibration.words
    clean, broken = gates("handler-sleep:20", *load, f"--p50-ms={median_ms + 10:.2f}")
    assert clean.code == 0, clean.words
    assert broken.code == 1, broken.words
    assert "p50" in broken.words.splitlines()[-1]


def test_lanes_that_run_one_after_another_break_the_error_rate_at_a_load_that_two_carry(gates):
    load = (f"--rate={0.7 * CARRIED_PER_S}", "--duration=8", "--warmup=3", "--p99-ms=0", "--deadline-ms=1000")
    clean, broken = gates("serial-lanes", *load, "--max-error-rate=0.1", "--max-past-deadline=1")
    assert clean.code == 0, clean.words
    assert broken.code == 1, broken.words
    assert "error rate" in broken.words.splitlines()[-1]
    assert broken.report["summary"]["outcomes"]["shed"] > 0


def test_a_deadline_that_is_not_looked_at_breaks_the_gate_on_answers_past_it(gates):
    load = (f"--rate={2.5 * CARRIED_PER_S}", "--duration=6", "--warmup=3", "--p99-ms=0", "--deadline-ms=400")
    # In overload most is turned away: that is no error here.
    gated = ("--max-error-rate=1", "--deadline-slack-ms=400", "--max-past-deadline=0.02")
    clean, broken = gates("no-deadlines", *load, *gated)
    assert clean.code == 0, clean.words
    assert clean.report["summary"]["outcomes"]["accepted"] > 0
    assert broken.code == 1, broken.words
    assert "past their deadline" in broken.words.splitlines()[-1]
