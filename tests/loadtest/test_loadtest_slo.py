"""The gate: open-loop arrivals against a real server, and an exit code that means something."""

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtest.client import JSON_HEADERS, Connection, Endpoint
from loadtest.generator.schedule import poisson_schedule
from loadtest.options import RunOptions, add_run_options
from loadtest.traffic.requests import load_traffic

ROOT = Path(__file__).parents[2]

# Nothing here depends on how fast the machine is: the budgets are absurd in one direction or the other.
PATIENT = ("--p99-ms=60000", "--max-lag-ms=60000", "--products=4", "--distinct=20", "--warmup=0")


@pytest.fixture
def slo(loadtest, tmp_path):
    """Runs the gate; returns exit code, output and JSON."""

    def run(host, *options):
        result = tmp_path / "run.json"
        done = loadtest("slo", "--host", host, *PATIENT, "--json", result, *options)
        report = json.loads(result.read_text()) if result.exists() else None
        return done, report

    return run


def test_an_objective_that_holds_exits_0(start_service, slo):
    done, report = slo(start_service().url, "--rate=40", "--duration=1.5", "--warmup=0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "HELD" in done.stdout
    assert "synthetic (20 requests of 4 products, seed 1)" in done.stdout
    summary = report["summary"]
    assert summary["requests"] == report["planned"] == len(report["samples"]) > 20
    assert summary["outcomes"] == {"accepted": report["planned"], "shed": 0, "late": 0, "failed": 0}
    assert summary["latency_ms"]["p99"] in [sample["latency_ms"] for sample in report["samples"]]


def test_a_broken_p99_exits_1_and_says_so(start_service, slo):
    done, report = slo(start_service("--delay-ms=20").url, "--rate=30", "--duration=1", "--p99-ms=5")
    assert done.returncode == 1
    assert "BROKEN: p99 " in done.stdout
    assert report["verdict"]["name"] == "broken"


def test_a_broken_error_rate_exits_1_and_counts_each_kind(start_service, slo):
    service = start_service("--shed-every=3", "--late-every=4", "--fail-every=5", "--short-every=7")
    done, report = slo(service.url, "--rate=60", "--duration=1.5")
    assert done.returncode == 1
    assert "error rate" in done.stdout.splitlines()[-1]
    outcomes = report["summary"]["outcomes"]
    assert all(outcomes[kind] > 0 for kind in ("accepted", "shed", "late", "failed"))
    assert sum(outcomes.values()) == report["planned"]
    assert outcomes["shed"] == report["summary"]["statuses"]["503"]
    assert outcomes["late"] == report["summary"]["statuses"]["504"]
    assert {"status 500", "status 200 with another number of scores than of products"} == set(
        report["summary"]["reasons"]
    )


def test_errors_within_their_budget_are_allowed(start_service, slo):
    done, _ = slo(start_service("--shed-every=3").url, "--rate=40", "--duration=1", "--max-error-rate=0.9")
    assert done.returncode == 0


def test_a_generator_that_misses_its_schedule_makes_the_run_invalid(start_service, slo):
    done, report = slo(start_service().url, "--rate=40", "--duration=1", "--max-lag-ms=0")
    assert done.returncode == 3
    assert "INVALID RUN: the generator could not keep its schedule" in done.stdout
    assert report["verdict"]["name"] == "invalid"


def test_a_slow_server_does_not_slow_the_arrivals(start_service, slo, ask):
    service = start_service("--delay-ms=1500")
    done, _ = slo(service.url, "--rate=40", "--duration=1.5")
    assert done.returncode == 0
    plan = poisson_schedule(rate=40, warmup_s=0, duration_s=1.5, requests=20, max_arrivals=100_000, seed=1)
    seen = ask(service.url, "/seen")
    assert len(seen) == len(plan) > 40
    # A closed loop would fall a whole answer behind with each request of a user.
    behind = [
        (arrival["at_s"] - seen[0]["at_s"]) - (due.due_s - plan[0].due_s)
        for arrival, due in zip(seen, plan, strict=True)
    ]
    assert statistics.median(behind) < 0.5


def test_queueing_that_a_closed_loop_would_omit_is_measured(start_service, slo):
    service = start_service("--serial", "--delay-ms=30")
    request = load_traffic(None, requests=1, products=4, seed=1).requests[0]
    connection = Connection(Endpoint.parse(service.url), 30)
    closed = []
    for _ in range(20):
        start = time.perf_counter()
        connection.request("POST", "/score", request.body, JSON_HEADERS)
        closed.append((time.perf_counter() - start) * 1e3)
    connection.close()
    # Twice what it can serve: the queue grows to over a second.
    _, report = slo(service.url, "--rate=66", "--duration=2.5")
    assert report["summary"]["latency_ms"]["p99"] > 5 * statistics.median(closed)


def test_the_warm_up_is_played_and_not_counted(start_service, slo, ask):
    service = start_service()
    _, report = slo(service.url, "--rate=40", "--duration=1", "--warmup=1")
    assert len(ask(service.url, "/seen")) > report["planned"] == len(report["samples"])
    assert all(sample["due_s"] >= 1 for sample in report["samples"])


def test_the_seed_decides_which_requests_are_sent(start_service, slo, ask):
    service = start_service()
    slo(service.url, "--rate=30", "--duration=1", "--seed=5")
    plan = poisson_schedule(rate=30, warmup_s=0, duration_s=1, requests=20, max_arrivals=100_000, seed=5)
    traffic = load_traffic(None, requests=20, products=4, seed=5)
    expected = sorted(traffic.requests[arrival.request].query for arrival in plan)
    assert sorted(arrival["query"] for arrival in ask(service.url, "/seen")) == expected


def test_connections_are_reused_and_headers_are_sent(start_service, slo, ask):
    service = start_service()
    slo(service.url, "--rate=40", "--duration=2", "--deadline-ms=75", "--header=authorization: Bearer abc")
    seen = ask(service.url, "/seen")
    assert len({arrival["connection"] for arrival in seen}) < len(seen) / 2
    assert {arrival["headers"]["x-request-timeout-ms"] for arrival in seen} == {"75"}
    assert {arrival["headers"]["authorization"] for arrival in seen} == {"Bearer abc"}


def test_a_key_in_a_header_is_not_written_to_the_report(start_service, slo, tmp_path):
    slo(start_service().url, "--rate=20", "--duration=1", "--header=authorization: Bearer secret")
    assert "secret" not in (tmp_path / "run.json").read_text()


def test_answers_that_never_come_are_failures_and_bounded(start_service, slo):
    service = start_service("--delay-ms=4000")
    options = ("--rate=40", "--duration=1", "--request-timeout=1", "--max-in-flight=10")
    done, report = slo(service.url, *options)
    assert done.returncode == 1
    reasons = report["summary"]["reasons"]
    assert reasons["no answer within 1 s"] >= 10
    assert reasons["not sent: 10 requests in flight unanswered"] > 0
    assert report["summary"]["requests"] == report["planned"]


def test_real_traffic_is_replayed_from_its_file(start_service, slo, ask, tmp_path):
    traffic = tmp_path / "mine.jsonl"
    traffic.write_text('{"query": "only this", "products": [{"title": "one"}, {"title": "two"}]}\n')
    service = start_service()
    done, _ = slo(service.url, "--rate=20", "--duration=1", "--traffic", traffic)
    assert done.returncode == 0
    assert "mine.jsonl (1 requests of 2 products)" in done.stdout
    assert {arrival["query"] for arrival in ask(service.url, "/seen")} == {"only this"}


def test_no_server_is_one_line_and_exit_2(slo):
    done, report = slo("http://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.startswith("no server at http://127.0.0.1:1: ")
    assert done.stderr.count("\n") == 1
    assert report is None


def test_a_server_that_is_not_ready_is_one_line_and_exit_2(start_service, slo):
    done, _ = slo(start_service("--not-ready").url)
    assert done.returncode == 2
    assert "answered 503, expected 200" in done.stderr
    assert "warming up" in done.stderr
    assert done.stderr.count("\n") == 1


def test_malformed_traffic_is_one_line_and_exit_2(start_service, slo, tmp_path):
    traffic = tmp_path / "mine.jsonl"
    traffic.write_text('{"query": "x", "products": [{"title": 7}]}\n')
    done, _ = slo(start_service().url, "--traffic", traffic)
    assert done.returncode == 2
    assert "mine.jsonl line 1: products[0].title: expected text, found a number" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_generator_may_lag_by_a_fifth_of_the_objective():
    assert RunOptions(p99_ms=50).objective.max_lag_ms == 10
    assert RunOptions(p99_ms=50, max_lag_ms=0).objective.max_lag_ms == 0


def test_a_long_deadline_is_sent_in_digits():
    assert RunOptions(deadline_ms=1_234_567).headers == {"x-request-timeout-ms": "1234567"}


def test_the_command_line_carries_every_option():
    options = RunOptions(rate=7.25, max_lag_ms=3, header=("a: b", "c: d e"), traffic="some file", deadline_ms=40)
    parser = argparse.ArgumentParser()
    add_run_options(parser)
    assert RunOptions.of(parser.parse_args(options.argv())) == options
    assert RunOptions.of(parser.parse_args([])) == RunOptions()


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("--rate=0", "--rate: expected more than 0"),
        ("--duration=nan", "--duration: expected a finite number"),
        ("--warmup=-1", "--warmup: expected 0 or more"),
        ("--header=nonsense", "--header: expected 'NAME: VALUE'"),
        ("--header=näme: value", "--header: expected 'NAME: VALUE' in plain ASCII"),
        ("--header=name: value\nother: value", "--header: expected 'NAME: VALUE' in plain ASCII"),
        ("--deadline-ms=1.5", "--deadline-ms: expected whole milliseconds"),
        ("--max-error-rate=5", "--max-error-rate: expected a share from 0 to 1, found 5"),
        ("--max-shed-rate=1.01", "--max-shed-rate: expected a share from 0 to 1, found 1.01"),
    ],
)
def test_impossible_options_are_one_line_and_exit_2(slo, option, complaint):
    done, _ = slo("http://127.0.0.1:1", option)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_address_that_is_none_is_refused(slo):
    done, _ = slo("127.0.0.1:8080")
    assert done.returncode == 2
    assert "expected a host like http://" in done.stderr


def test_ctrl_c_prints_what_was_measured_so_far(start_service, start_loadtest, ask, tmp_path):
    service = start_service()
    result = tmp_path / "run.json"
    options = ("--rate=50", "--duration=100", "--json", result)
    process = start_loadtest("slo", "--host", service.url, *PATIENT, *options)
    until = time.monotonic() + 60
    while len(ask(service.url, "/seen")) < 10 and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "INTERRUPTED: interrupted after" in output
    report = json.loads(result.read_text())
    assert 5 <= len(report["samples"]) < report["planned"]


def test_the_locustfile_runs_under_plain_locust(start_service):
    locust = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--only-summary"]
    options = ["--host", start_service("--delay-ms=20").url, "-u", "3", "--rate=30", "--duration=1", *PATIENT]
    command = [*locust, *options, "--p99-ms=5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "BROKEN: p99" in done.stdout
    # Locust's own table counts the same requests, once each.
    planned = poisson_schedule(rate=30, warmup_s=0, duration_s=1, requests=20, max_arrivals=10_000, seed=1)
    counted = sum(arrival.counted for arrival in planned)
    assert f"{counted} counted" in done.stdout
    assert any(f" {counted} " in line for line in (done.stdout + done.stderr).splitlines() if "Aggregated" in line)
