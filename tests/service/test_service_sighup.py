"""SIGHUP, and links that change, as operators use them on `python -m service`."""

import gc
import json
import os
import signal
import subprocess
import sys
import threading

import httpx
import pytest

from artifact.loading import read_manifest
from service.__main__ import main

from .serving import point
from .test_service_process import ROOT, free_port, process, score, wait_for


def swaps(client, outcome):
    wanted = f'shelfscore_model_swaps_total{{model="tiny",outcome="{outcome}"}} '
    return next(float(line[len(wanted) :]) for line in client.get("/metrics").text.splitlines() if wanted in line)


def wait_until(child, condition):
    while not condition():
        assert child.poll() is None
        threading.Event().wait(0.01)


def version_of(client):
    return score(client).json()["model"]["version"]


def events(log):
    # Probes that came while the model was loading are shed requests: how many there are is the machine's doing.
    usual = ("request", "requests shed", "listening", "ready", "draining", "stopped")
    lines = [json.loads(line) for line in log.splitlines()]
    return [line for line in lines if line["message"] not in usual]


def test_sighup_swaps_the_model_and_a_broken_one_changes_nothing(current, tiny_artifact, other_artifact, tmp_path):
    old, other = (read_manifest(folder).version for folder in (tiny_artifact, other_artifact))
    with process("--model-dir", current, "--model-poll-ms", 0) as (child, client):
        assert version_of(client) == old
        point(current, other_artifact)
        child.send_signal(signal.SIGHUP)
        wait_until(child, lambda: version_of(client) == other)
        point(current, tmp_path)
        child.send_signal(signal.SIGHUP)
        wait_until(child, lambda: swaps(client, "failed") == 1)
        assert version_of(client) == other
        assert client.get("/health/ready").status_code == 200
        child.send_signal(signal.SIGTERM)
        _, log = child.communicate(timeout=60)
    assert child.returncode == 0, log
    swapped, released, failed = events(log)
    assert (swapped["message"], swapped["old_version"], swapped["version"]) == ("model swapped", old, other)
    assert released["message"] == "old model released"
    assert failed["message"].startswith("model not swapped, the loaded one goes on: ")
    assert (failed["level"], failed["version"]) == ("ERROR", other)
    assert failed["message"].endswith("expected a manifest in an artifact folder, found no such file")


def test_a_changed_link_swaps_the_model_without_a_signal(current, other_artifact):
    with process("--model-dir", current, "--model-poll-ms", 20) as (child, client):
        point(current, other_artifact)
        wait_until(child, lambda: version_of(client) == read_manifest(other_artifact).version)


def test_a_storm_of_sighups_from_the_start_to_the_end_hurts_nobody(current, tiny_artifact, other_artifact):
    """While it starts, while it works and while it drains."""
    options = ["--model-dir", str(current), "--model-poll-ms", "0", "--port", str(port := free_port())]
    command = [sys.executable, "-m", "service", *options]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
        # Before our first line it is Python that starts, and every Python process ends by this signal.
        assert "listening" in child.stderr.readline()
        ended = threading.Event()

        def storm():
            while not ended.wait(0.002):
                child.send_signal(signal.SIGHUP)

        sender = threading.Thread(target=storm)
        sender.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_for(client, 200, child)
                for folder in (other_artifact, tiny_artifact, other_artifact):
                    point(current, folder)
                    wanted = read_manifest(folder).version
                    wait_until(child, lambda wanted=wanted: version_of(client) == wanted)
                assert swaps(client, "swapped") == 3
                assert swaps(client, "failed") == 0
            child.send_signal(signal.SIGTERM)
            _, log = child.communicate(timeout=60)
        finally:
            ended.set()
            sender.join(60)
            child.kill()
    assert child.returncode == 0, log
    assert "Traceback" not in log


@pytest.mark.usefixtures("_process_as_it_was")
def test_the_heap_is_frozen_once_loaded_and_not_again_by_a_swap(current, other_artifact):
    port = free_port()
    counts = []

    def use_then_stop():
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_for(client, 200)
            counts.append(gc.get_freeze_count())
            point(current, other_artifact)
            os.kill(os.getpid(), signal.SIGHUP)
            while swaps(client, "swapped") != 1:
                pass
            counts.append(gc.get_freeze_count())
        os.kill(os.getpid(), signal.SIGTERM)

    gc.unfreeze()
    before = signal.getsignal(signal.SIGHUP)
    user = threading.Thread(target=use_then_stop)
    user.start()
    options = ["--model-dir", str(current), "--port", str(port), "--model-poll-ms", "0", "--log-level", "error"]
    assert main(options) == 0
    user.join(60)
    loaded, swapped = counts
    assert loaded > 10_000
    # Frozen objects that go are freed: the count can only shrink.
    assert swapped <= loaded
    assert signal.getsignal(signal.SIGHUP) == before
