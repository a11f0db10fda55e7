"""The gate on a service that it starts itself, and the page that it writes."""

import json
import signal

import psutil
import pytest

from loadtest.client import Endpoint
from loadtest.errors import Exit
from loadtest.promises.watch import histogram, read_metrics

from ..service.tiny_model import build_tiny_artifact

PATIENT = ("--p99-ms=60000", "--max-lag-ms=60000", "--products=4", "--distinct=20", "--warmup=0", "--rate=20")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    build_tiny_artifact(folder, tmp_path_factory.mktemp("scratch"))
    return folder


def test_a_service_is_started_measured_and_ended(loadtest, artifact, tmp_path):
    result, page = tmp_path / "slo.json", tmp_path / "slo.html"
    done = loadtest("slo", "--artifact", artifact, *PATIENT, "--duration=3", "--json", result, "--html", page)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(result.read_text())
    assert report["summary"]["outcomes"]["accepted"] == report["planned"] > 20
    assert report["used"]["cores"] > 0
    assert not psutil.pid_exists(report["options"]["pid"])
    html = page.read_text()
    for shown in ("HELD", "of 4 products", "Server-Timing total", "resident memory", "p99.9 ms"):
        assert shown in html, shown


def test_a_polite_end_reports_what_was_measured_and_ends_the_service(start_loadtest, artifact):
    process = start_loadtest("slo", "--artifact", artifact, *PATIENT, "--duration=300")
    told = process.stderr.readline()
    while "the service is ready" not in told:
        told = process.stderr.readline()
    url = told.split("ready on ")[1].split()[0]
    service = next(child for child in psutil.Process(process.pid).children() if "service" in child.cmdline())
    # Under way: Locust heeds signals by then.
    while histogram(read_metrics(Endpoint.parse(url)), "shelfscore_micro_batch_duration_seconds").count < 5:
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED
    assert "INTERRUPTED" in out
    assert not service.is_running()


def test_settings_are_for_a_service_that_is_started(loadtest):
    done = loadtest("slo", "--setting=LANES=1")
    assert done.returncode == Exit.UNUSABLE
    assert "give --artifact" in done.stderr


def test_a_page_that_cannot_be_written_is_said_before_anything_is_sent(loadtest, start_service, ask):
    service = start_service()
    done = loadtest("slo", "--host", service.url, *PATIENT, "--duration=1", "--html=/nowhere/slo.html")
    assert done.returncode == Exit.UNUSABLE
    assert "/nowhere/slo.html: cannot be written: no such folder" in done.stderr
