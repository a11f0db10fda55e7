"""The commands as people run them, against a server on a real socket; verdicts here depend on no one's speed."""

import json
import signal
import time

import pytest

PATIENT = ("--max-lag-ms=60000", "--distinct=20")
OVERLOAD = (
    *(*PATIENT, "--products=4", "--deadline-ms=60000"),
    *("--max-rejection-ms=60000", "--max-ready-ms=60000", "--max-metrics-ms=60000"),
)


@pytest.fixture
def report(tmp_path):
    path = tmp_path / "report.json"

    def read():
        return json.loads(path.read_text())

    read.option = f"--json={path}"
    return read


def test_overload_that_holds_exits_0(start_service, loadtest, report, tmp_path):
    service, page = start_service(), tmp_path / "overload.html"
    options = (
        f"--html={page}",
        "--rated=20",
        "--phases=1x1,2x1,10x2,2x1",
        "--min-goodput=0.1",
        "--max-growth-mb=1000",
        report.option,
    )
    done = loadtest("overload", "--host", service.url, "--pid", service.pid, *OVERLOAD, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "HELD"
    contents = report()
    assert [phase["phase"]["name"] for phase in contents["phases"]] == ["1x", "2x", "10x", "2x"]
    assert sum(sum(phase["outcomes"].values()) for phase in contents["phases"]) == len(contents["samples"])
    assert len(contents["probes"]["ready"]) > 5
    assert contents["readings"][0]["rss_bytes"] > 1e6
    assert "10x: goodput of rated" in page.read_text()


def test_overload_whose_goodput_breaks_exits_1(start_service, loadtest, report):
    service = start_service("--shed-every=2")
    options = ("--rated=20", "--phases=1x1,2x2", "--min-goodput=1.9", report.option)
    done = loadtest("overload", "--host", service.url, *OVERLOAD, *options)
    assert done.returncode == 1, done.stdout + done.stderr
    assert [check["what"] for check in report()["checks"] if check["held"] is False] == ["2x: goodput of rated"]


def test_overload_finds_the_rated_load(start_service, loadtest, report):
    # Its waits bound what a closed loop reaches, so that every rate tried is one that it holds.
    service = start_service("--delay-ms=40")
    options = ("--step-s=1", "--steps=2", "--phases=1x1", report.option)
    done = loadtest("overload", "--host", service.url, *OVERLOAD, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    rated = report()["rated"]
    assert rated["requests_per_s"] == rated["tried"][-1]["rate"] > rated["tried"][0]["rate"] > 0


def test_ctrl_c_gives_what_was_measured_until_then(start_service, start_loadtest, ask, report):
    service = start_service()
    options = (*OVERLOAD, "--rated=40", "--phases=1x1000", report.option)
    process = start_loadtest("overload", "--host", service.url, *options)
    until = time.monotonic() + 60
    while len(ask(service.url, "/seen")) < 10 and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output.splitlines()[-1] == "INTERRUPTED"
    assert 5 <= len(report()["samples"]) < 1000


def test_capacity_confirms_the_highest_rate_that_it_may_try(start_service, loadtest, report, tmp_path):
    service, page = start_service(), tmp_path / "capacity.html"
    quick = ("--closed-loop-s=1", "--step-requests=20", "--min-step-s=0.5", "--settle-s=0", "--confirm=2")
    # An objective that any machine holds, so that the answer is the bound and not this machine's.
    bounds = ("--products=4", "--p99-ms=60000", "--max-rate=30", "--check=0.9")
    files = (report.option, f"--html={page}")
    done = loadtest("capacity", "--host", service.url, "--pid", service.pid, *PATIENT, *quick, *bounds, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = report()["answer"]
    assert 29 < answer["holds"] <= 30
    assert (answer["breaks"], answer["confirmed"], answer["checks"]) == (None, True, {"0.9": True})
    purposes = [trial["purpose"] for trial in report()["trials"]]
    assert purposes == ["search", "confirmation", "check at 90%"]
    assert all(trial["requests"] == len(trial["samples"]) > 5 for trial in report()["trials"])
    assert "no rate above it broke" in page.read_text()


def test_mixed_measures_the_capacity_and_alternates(start_service, loadtest, report):
    options = ("--rounds=2", "--round-s=2", "--capacity-s=1", "--large-products=50", "--small-deadline-ms=60000")
    # A server whose capacity is that of its waits, not of this machine: else its 70 % are thousands of requests.
    service = start_service("--product-delay-ms=2")
    done = loadtest("mixed", "--host", service.url, *PATIENT, *options, "--max-ratio=1e9", report.option)
    assert done.returncode == 0, done.stdout + done.stderr
    contents = report()
    assert contents["capacity"]["large_per_s"] > 0
    for each in contents["rounds"]:
        assert len(each["alone"]) == len(each["beside"]) > 10
        assert len(each["large"]) > 0


def test_a_soak_reports_every_request(start_service, loadtest, report):
    service = start_service()
    options = ("--requests=300", "--gzipped=0", "--abandoned=0", report.option)
    done = loadtest("soak", "--host", service.url, "--pid", service.pid, *options)
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    outcomes = next(check for check in report()["checks"] if check["what"] == "outcomes")
    assert outcomes["measured"] == "accepted 300"


def test_a_soak_of_minutes_ends_with_them_and_writes_its_page(start_service, loadtest, report, tmp_path):
    service = start_service()
    page = tmp_path / "soak.html"
    options = ("--minutes=0.1", "--gzipped=0", report.option, f"--html={page}")
    done = loadtest("soak", "--host", service.url, "--pid", service.pid, *options)
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    readings = report()["readings"]
    assert 1 < readings[-1]["at_s"] < 60
    assert readings[-1]["descriptors"] > 0
    assert readings[-1]["threads"] > 0
    assert "open files and sockets" in page.read_text()


def test_the_default_model_starts_and_stops_under_load_without_losing_a_request(loadtest, report):
    limits = ("--max-ready-s=600", "--max-drain-s=600", "--distinct=20")
    load = ("--only=start", "--only=stop", "--starts=1", "--stops=1", "--rate=5", "--products=4")
    done = loadtest("lifecycle", "--artifact=models/default", *load, *limits, report.option)
    assert done.returncode == 0, done.stdout + done.stderr
    contents = report()
    assert len(contents["ready_s"]) == 1
    (stop,) = contents["stops"]
    assert stop["exit_code"] == 0
    assert sum(sample["sent_s"] < stop["signalled_s"] for sample in stop["samples"]) > 0


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("overload", "--host=http://127.0.0.1:1"), "no server at http://127.0.0.1:1"),
        (("overload", "--artifact=nowhere"), "expected an artifact folder"),
        (("overload", "--artifact=nowhere", "--host=http://127.0.0.1:1"), "expected --host or --artifact, found both"),
        (("overload", "--artifact=models/default", "--setting=LANES"), "expected NAME=VALUE"),
        (("overload", "--json=/nowhere/x.json"), "no such folder"),
        (("overload", "--html=/nowhere/x.html"), "no such folder"),
        (("soak", "--minutes=0"), "expected up to 1440"),
        (("capacity", "--host=http://127.0.0.1:1"), "no server at http://127.0.0.1:1"),
        (("capacity", "--resolution=0"), "expected 0.005 to 1"),
        (("capacity", "--html=/nowhere/x.html"), "no such folder"),
        (("soak", "--leak-control", "--host=http://127.0.0.1:1"), "expected a server that is started here"),
        (("lifecycle", "--only=swap"), "expected --other-artifact FOLDER too"),
        (("lifecycle", "--starts=0"), "expected 1 or more"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_2(loadtest, arguments, complaint):
    done = loadtest(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.startswith(f"loadtest {arguments[0]}: ")


def test_malformed_phases_are_a_usage_error(loadtest):
    done = loadtest("overload", "--phases=2x")
    assert done.returncode == 2
    assert "expected FACTORxSECONDS" in done.stderr
