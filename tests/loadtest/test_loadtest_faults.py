"""The fault suite against the real service with a tiny model: what it promises about each fault, it keeps."""

import json
import os
import signal

import pytest

from loadtest.errors import Exit
from loadtest.faults.command import as_markdown
from loadtest.faults.suite import FAULTS, Seen, chosen, run_faults

from ..service.tiny_model import build_tiny_artifact

LONG = {
    # Each waits for seconds, or starts a service for what other tests see too.
    *("slow reader", "lane hung", "all lanes hung", "SIGTERM with all lanes hung", "busy neighbour"),
    *("SIGTERM at rest", "SIGTERM in warm-up", "second SIGTERM", "second SIGTERM with work", "SIGHUPs at birth"),
    *("gzip bomb of 256 MiB", "log pipe that nobody reads", "process frozen for 2 s"),
}
FAMILIES = tuple(dict.fromkeys(fault.family for fault in FAULTS))


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    build_tiny_artifact(folder, tmp_path_factory.mktemp("scratch"))
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_the_service_does_about_each_fault_what_is_expected(artifact, family):
    faults = [fault for fault in FAULTS if fault.family == family and fault.name not in LONG]
    assert faults
    for seen in run_faults(faults, artifact, dict(os.environ)):
        assert seen.held, f"{seen.fault.name}: {seen.seen}; afterwards: {seen.afterwards}"


def test_every_fault_has_a_name_of_its_own_and_says_what_is_expected():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 50
    assert all(fault.expectation for fault in FAULTS)
    assert {fault.name for fault in FAULTS} >= LONG


def test_faults_are_chosen_by_name_or_family():
    assert [fault.name for fault in chosen(["gzip cut"])] == ["gzip cut short"]
    assert {fault.family for fault in chosen(["signals"])} == {"signals"}
    assert chosen([]) == list(FAULTS)


def test_the_command_writes_what_it_saw_and_exits_0(loadtest, artifact, tmp_path):
    options = (f"--json={tmp_path / 'faults.json'}", f"--markdown={tmp_path / 'faults.md'}")
    done = loadtest("faults", "--artifact", artifact, "--only=broken chunk", "--only=gzip cut", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 of 2 faults as expected" in done.stdout
    (chunk, cut) = json.loads((tmp_path / "faults.json").read_text())["faults"]
    assert (chunk["name"], chunk["held"], cut["seen"]) == ("broken chunk", True, "400")
    page = (tmp_path / "faults.md").read_text()
    assert "| gzip cut short | 400 | 400 | alive, same scores | held |" in page


def test_an_interrupted_run_says_so_and_leaves_the_page_as_it_was(start_loadtest, artifact, tmp_path):
    page = tmp_path / "faults.md"
    page.write_text("whole")
    process = start_loadtest("faults", "--artifact", artifact, "--only=lengths", f"--markdown={page}")
    assert "held" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == Exit.INTERRUPTED
    assert "were not tried" in out
    assert page.read_text() == "whole"


def test_a_fault_that_nobody_knows_is_unusable(loadtest):
    done = loadtest("faults", "--only=earthquake")
    assert done.returncode == 2
    assert "no fault is called so" in done.stderr


def test_an_artifact_that_is_none_is_unusable(loadtest, tmp_path):
    done = loadtest("faults", "--artifact", tmp_path, "--only=broken chunk")
    assert done.returncode == 2
    assert "manifest.json" in done.stderr


def test_the_list_names_all(loadtest):
    done = loadtest("faults", "--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(FAULTS)


def test_a_pipe_in_a_cell_is_no_column(tmp_path):
    (fault,) = chosen(["gzip cut"])
    page = as_markdown([Seen(fault, "a|b", "c", False, 1.0)], tmp_path)
    assert "| gzip cut short | 400 | a\\|b | c | **BROKEN** |" in page
