"""What the gate lets pass and what it does not, beyond p99 and errors: deadlines, medians, arrivals, the process."""

import json

import pytest

from loadtest.histograms import count_of, distribution_of
from loadtest.options import RunOptions
from loadtest.run_plan import plan_run

from .raw_server import RawServer, reply, scored

# Latency is not judged, so that no speed of the machine decides.
CALM = ("--p99-ms=0", "--max-lag-ms=60000", "--products=4", "--distinct=20", "--warmup=0", "--duration=1.5")


@pytest.fixture
def slo(loadtest, tmp_path):
    """Runs the gate; returns exit code, output and JSON."""

    def run(server, *options):
        result = tmp_path / "run.json"
        done = loadtest("slo", "--host", server.url, *CALM, "--json", result, *options)
        return done, json.loads(result.read_text()) if result.exists() else None

    return run


def last_line(done):
    return done.stdout.splitlines()[-1]


def test_a_gate_on_errors_and_schedule_alone_lets_a_slow_server_pass(start_service, slo):
    done, report = slo(start_service("--delay-ms=300"), "--rate=20")
    assert done.returncode == 0, done.stdout + done.stderr
    assert last_line(done) == "HELD: the objective holds (latency not judged, errors, schedule)"
    assert report["summary"]["latency_ms"]["p50"] > 300


def test_a_gate_on_errors_and_schedule_alone_catches_errors(start_service, slo):
    done, _ = slo(start_service("--fail-every=5"), "--rate=40")
    assert done.returncode == 1
    assert "BROKEN: error rate" in last_line(done)


def test_a_model_version_in_the_head_that_the_body_denies_is_a_failure(slo):
    server = RawServer(lambda *_: reply(200, scored(4, version="v1"), [("x-model-version", "v2")]))
    try:
        done, report = slo(server, "--rate=20")
    finally:
        server.stop()
    assert done.returncode == 1
    assert report["summary"]["outcomes"]["failed"] == report["planned"]
    assert "one model version in the head and another in the body" in done.stdout


def test_a_sleep_in_the_handler_is_caught_by_the_median(start_service, slo):
    done, _ = slo(start_service("--delay-ms=20"), "--rate=20", "--p50-ms=20")
    assert done.returncode == 1
    assert "BROKEN: p50 " in last_line(done)
    assert "objective 20 ms" in last_line(done)


def test_a_dropped_deadline_check_is_caught_though_every_answer_is_complete(start_service, slo):
    done, report = slo(start_service("--delay-ms=400"), "--rate=20", "--deadline-ms=100", "--deadline-slack-ms=200")
    assert done.returncode == 1
    planned = report["planned"]
    assert report["summary"]["outcomes"]["accepted"] == planned
    assert f"BROKEN: answers past their deadline: {planned} " in last_line(done)
    assert {sample["deadline_ms"] for sample in report["samples"]} == {100}


def test_a_request_brings_its_deadline_in_its_body_too(start_service, slo, tmp_path):
    lines = [{"query": "x", "products": [{"title": "a"}], **extra} for extra in ({"timeout_ms": 50}, {})]
    traffic = tmp_path / "mine.jsonl"
    traffic.write_text("\n".join(map(json.dumps, lines)))
    service = start_service("--delay-ms=300")
    done, report = slo(service, "--rate=20", "--traffic", traffic, "--deadline-slack-ms=100")
    assert done.returncode == 1
    hurried = sum(sample["deadline_ms"] == 50 for sample in report["samples"])
    assert 0 < hurried < report["planned"]
    assert report["summary"]["past_deadline"] == hurried


def test_answers_within_deadline_and_slack_hold(start_service, slo):
    done, report = slo(start_service("--delay-ms=5"), "--rate=20", "--deadline-ms=10000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deadline  0 answers more than 50 ms past theirs" in done.stdout
    assert report["summary"]["goodput"]["products_per_s"] == pytest.approx(4 * report["planned"] / 1.5)


def test_a_budget_of_its_own_for_what_is_shed(start_service, slo):
    service = start_service("--shed-every=3")
    options = ("--rate=40", "--max-error-rate=0.9")
    assert slo(service, *options, "--max-failed-rate=0")[0].returncode == 0
    done, report = slo(service, *options, "--max-shed-rate=0.1")
    assert done.returncode == 1
    assert f"BROKEN: shed {report['summary']['outcomes']['shed']} of {report['planned']}" in last_line(done)


def test_arrivals_that_were_not_sent_make_an_otherwise_good_run_invalid(start_service, slo):
    done, report = slo(start_service("--delay-ms=2500"), "--rate=40", "--max-in-flight=10", "--max-error-rate=1")
    assert done.returncode == 3
    unsent = report["planned"] - 10
    assert f"INVALID RUN: {unsent} of {report['planned']} planned arrivals were not sent" in last_line(done)
    assert f"schedule  10 of {report['planned']} planned sent" in done.stdout


def test_bursts_are_played_as_they_were_planned(start_service, slo, ask):
    service = start_service()
    burst = {"rate": 60.0, "arrivals": "burst", "burst_factor": 8.0, "burst_period_s": 1.0, "burst_share": 0.3}
    flags = ("--rate=60", "--arrivals=burst", "--burst-factor=8", "--burst-period=1", "--burst-share=0.3")
    done, report = slo(service, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    plan = plan_run(RunOptions(**burst, products="4", distinct=20, warmup_s=0.0, duration_s=1.5))
    assert sorted(sample["due_s"] for sample in report["samples"]) == [arrival.due_s for arrival in plan.schedule]
    assert len(ask(service.url, "/seen")) == plan.planned
    assert f"schedule  {plan.planned} of {plan.planned} planned sent" in done.stdout
    assert "bursts, 60/s on average" in done.stdout


def test_a_trace_is_played_with_its_own_requests(start_service, slo, ask, tmp_path):
    trace = tmp_path / "trace.jsonl"
    own = [{"query": f"query {number}", "products": [{"title": "a"}] * number} for number in (1, 2, 3)]
    trace.write_text("\n".join(json.dumps({"at_s": 5 + n / 5, "request": each}) for n, each in enumerate(own)))
    service = start_service()
    done, report = slo(service, "--arrivals=trace", "--trace", trace, "--trace-speed=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [arrival["query"] for arrival in ask(service.url, "/seen")] == ["query 1", "query 2", "query 3"]
    assert sorted(sample["due_s"] for sample in report["samples"]) == pytest.approx([0, 0.1, 0.2])
    assert "trace.jsonl at 2 times its speed, 3 arrivals" in done.stdout
    assert report["counted_s"] == pytest.approx(0.2)


def test_a_broken_trace_is_one_line_and_exit_2(start_service, slo, tmp_path):
    trace = tmp_path / "trace.jsonl"
    trace.write_text('{"at_s": 0}\n{"at": 1}\n')
    done, _ = slo(start_service(), "--arrivals=trace", "--trace", trace)
    assert done.returncode == 2
    assert "trace.jsonl line 2: at_s: missing" in done.stderr
    assert done.stderr.count("\n") == 1


def test_drawn_traffic_is_sent_as_it_was_drawn(start_service, slo, ask):
    service = start_service()
    done, report = slo(service, "--rate=60", "--zipf=1", "--repeat-share=0.5", "--products=1:1,5-9:1")
    assert done.returncode == 0, done.stdout + done.stderr
    options = {"zipf": 1.0, "repeat_share": 0.5, "products": "1:1,5-9:1", "distinct": 20}
    plan = plan_run(RunOptions(rate=60.0, warmup_s=0.0, duration_s=1.5, **options))
    drawn = [plan.request(arrival.request) for arrival in plan.schedule]
    seen = sorted((arrival["query"], arrival["texts"]) for arrival in ask(service.url, "/seen"))
    assert seen == sorted((each.query, [product["title"] for product in each.products]) for each in drawn)
    assert sorted(sample["products"] for sample in report["samples"]) == sorted(len(each.products) for each in drawn)
    assert "Zipf exponent 1" in report["traffic"]


def test_the_servers_timing_and_the_histograms_are_in_the_report(start_service, slo):
    done, report = slo(start_service("--delay-ms=30", "--overhead-ms=5", "--shed-every=4"), "--rate=30")
    server = report["summary"]["server"]
    assert server["total_ms"]["p50"] == 35
    assert server["stages_ms"]["tokenize"]["p99"] == 5
    assert server["outside_ms"]["p50"] > 0
    assert "total 35.00/35.00, queue 0.00/0.00, tokenize 5.00/5.00, inference 30.00/30.00" in done.stdout
    accepted = report["summary"]["by_outcome_ms"]["accepted"]
    assert distribution_of(report["histograms"]["accepted"]).p99 == pytest.approx(accepted["p99"], rel=1.1e-3)
    assert count_of(report["histograms"]["shed"]) == report["summary"]["outcomes"]["shed"] > 0


def test_the_servers_process_is_read(start_service, slo):
    service = start_service()
    done, report = slo(service, "--rate=20", "--duration=3", f"--pid={service.pid}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"process   {service.pid} used " in done.stdout
    assert report["used"]["most_bytes"] > 1e6
    assert report["used"]["cores"] > 0
    assert len(report["readings"]) >= 2


def test_a_process_that_is_not_there_is_one_line_and_exit_2(start_service, slo):
    done, _ = slo(start_service(), "--pid=99999999")
    assert done.returncode == 2
    assert done.stderr == "--pid: no process 99999999\n"


def test_a_server_that_dies_is_broken_not_held(start_service, slo):
    done, report = slo(start_service("--die-after=5"), "--rate=20")
    assert done.returncode == 1
    assert report["summary"]["outcomes"]["accepted"] == 5
