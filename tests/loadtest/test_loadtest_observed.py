"""`counts`, `scrape` and `observability`: verdicts from hand-made samples, and each command on the service itself."""

import json
from dataclasses import replace
from itertools import islice

import pytest

from loadtest.client import Endpoint
from loadtest.errors import Exit
from loadtest.measure import Outcome, distribution
from loadtest.observed.cost import OFF, ON, Round, judge_starts
from loadtest.observed.count_check import Grown, Told, judge_calm, judge_counts, judge_seen
from loadtest.observed.count_traffic import Kinds, calm
from loadtest.observed.scrape import Scraped, judge_scrapes
from loadtest.promises.verdict import Findings

from ..service.tiny_model import build_tiny_artifact
from .hand_made import broken, played, sample

STAGES = (("queue", 1.0), ("tokenize", 5.0), ("inference", 30.0), ("total", 40.0))
ENDPOINT = Endpoint.parse("http://127.0.0.1:1")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("artifact") / "tiny"
    build_tiny_artifact(folder, tmp_path_factory.mktemp("scratch"))
    return folder


def seen():
    """Two scored, one partial, shed, late, invalid and failed each, and one caller that left."""
    scored = [sample(each, 50.0, products=4, stages_ms=STAGES) for each in (0.0, 1.0)]
    partial = replace(sample(2.0, 50.0, Outcome.LATE, products=4, stages_ms=STAGES), status=200)
    wrong = replace(sample(5.0, 2.0, Outcome.FAILED, reason="status 422"), status=422)
    failed = replace(sample(6.0, 2.0, Outcome.FAILED, products=4, reason="status 500"), status=500)
    others = [sample(3.0, 2.0, Outcome.SHED, products=4), sample(4.0, 2.0, Outcome.LATE, products=4)]
    found = played([*scored, partial, *others, wrong, failed])
    found.abandoned = 1
    return found


def counted():
    """What a service that counts rightly says of these."""
    endings = {
        ("scored", "none"): 2,
        ("partial", "deadline"): 1,
        ("shed", "predicted_late"): 1,
        ("late", "deadline"): 1,
        ("invalid", "schema"): 1,
        ("invalid", "not_json"): 0,
        ("failed", "model"): 1,
        ("gone", "client_gone"): 1,
    }
    after = {
        f'shelfscore_score_requests_total{{outcome="{outcome}",reason="{reason}"}}': float(count)
        for (outcome, reason), count in endings.items()
    }
    for outcome in {outcome for outcome, _ in endings}:
        count = sum(number for (each, _), number in endings.items() if each == outcome)
        after[f'shelfscore_score_duration_seconds_count{{outcome="{outcome}"}}'] = float(count)
    for status, count in ((200, 3), (503, 1), (504, 1), (422, 1), (500, 1), (499, 1)):
        after[f'shelfscore_requests_total{{route="/score",status="{status}"}}'] = float(count)
    after['shelfscore_requests_total{route="/metrics",status="200"}'] = 9.0
    stages = {"queue": (0.003, 3), "tokenize": (0.006, 3), "encode": (0.009, 1), "inference": (0.09, 3)}
    for stage, (seconds, count) in stages.items():
        after[f'shelfscore_stage_duration_seconds_sum{{stage="{stage}"}}'] = seconds
        after[f'shelfscore_stage_duration_seconds_count{{stage="{stage}"}}'] = float(count)
    return after


def verdict(found, after, before=None):
    findings = Findings("counts", [])
    judge_counts(findings, "part", Told.of(found), Grown(before or {}, after))
    return findings


def test_counters_that_equal_what_was_sent_hold():
    findings = verdict(seen(), counted())
    assert broken(findings) == []
    assert findings.exit is Exit.HELD


def test_what_was_counted_before_does_not_count():
    before = dict.fromkeys(counted(), 100.0)
    after = {name: value + 100.0 for name, value in counted().items()}
    assert broken(verdict(seen(), after, before)) == []
    assert broken(verdict(seen(), after))


@pytest.mark.parametrize(
    ("name", "complaints"),
    [
        ('score_requests_total{outcome="scored",reason="none"}', ["part: scored", "part: all"]),
        ('score_requests_total{outcome="gone",reason="client_gone"}', ["part: gone", "part: all"]),
        (
            'score_requests_total{outcome="invalid",reason="not_json"}',
            ["part: invalid", "part: all", "part: invalid, not_json"],
        ),
        ('score_duration_seconds_count{outcome="late"}', ["part: durations of late"]),
        ('requests_total{route="/score",status="503"}', ["part: status 503"]),
        ('stage_duration_seconds_count{stage="queue"}', ["part: answers with queue"]),
    ],
)
def test_one_more_than_was_sent_breaks(name, complaints):
    after = counted()
    after[f"shelfscore_{name}"] += 1
    findings = verdict(seen(), after)
    assert broken(findings) == complaints
    assert findings.exit is Exit.BROKEN


def test_a_stage_that_takes_longer_than_the_header_says_breaks():
    after = counted()
    after['shelfscore_stage_duration_seconds_sum{stage="inference"}'] += 0.001
    assert broken(verdict(seen(), after)) == ["part: seconds of inference"]


def test_an_answer_that_the_generator_cannot_place_makes_the_run_invalid():
    lost = sample(7.0, 1.0, Outcome.FAILED, reason="the server closed the connection")
    found = seen()
    found.samples.append(lost)
    findings = verdict(found, counted())
    assert findings.exit is Exit.INVALID
    assert "the server closed the connection" in findings.invalid[0]


def test_an_outcome_that_never_came_makes_the_run_invalid():
    findings = Findings("counts", [])
    judge_seen(findings, [Told.of(played([sample(0.0)]))], ["scored", "late"])
    assert len(findings.invalid) == 1
    assert "no request was late" in findings.invalid[0]


def test_calm_traffic_is_counted_in_products_pairs_and_tokens_too():
    found = played([sample(each, 50.0, products=4, stages_ms=STAGES) for each in (0.0, 1.0)])
    right = {
        "shelfscore_request_products_sum": 8.0,
        "shelfscore_request_products_count": 2.0,
        "shelfscore_scored_pairs_total": 8.0,
        "shelfscore_request_tokens_sum": 99.0,
        'shelfscore_tokens_total{kind="text"}': 99.0,
        'shelfscore_score_duration_seconds_sum{outcome="scored"}': 0.09,
    }

    def said(**changes):
        findings = Findings("counts", [])
        judge_calm(findings, "calm", Told.of(found), Grown({}, {**right, **changes}))
        return broken(findings)

    assert said() == []
    assert said(shelfscore_scored_pairs_total=7.0) == ["calm: pairs scored"]
    # Less than the server said of itself, and more than its callers waited.
    for seconds in (0.079, 0.101):
        name = 'shelfscore_score_duration_seconds_sum{outcome="scored"}'
        assert said(**{name: seconds}) == ["calm: seconds of scored requests"]


def test_the_traffic_has_all_kinds_and_repeats_itself():
    kinds = Kinds(ENDPOINT, "key", 1)
    requests = list(islice(kinds.wild(), 300))
    assert [each.data for each in requests] == [each.data for each in islice(kinds.wild(), 300)]
    assert {each.abandon_s is None for each in requests} == {True, False}
    assert {each.deadline_ms for each in requests} == {None, 5.0, 20.0, 1000.0}
    assert len(kinds.wrong()) == len(Kinds(ENDPOINT, None, 1).wrong()) + 1
    assert sum(each.products for each in calm(kinds, 6)) == 1 + 5 + 16 + 64 + 64 + 200


def test_a_scrape_is_judged_by_its_median_and_its_cpu_time():
    def said(ms, cpu_ms):
        findings = Findings("scrape", [])
        latency = distribution([ms] * 9 + [40.0])
        judge_scrapes(findings, {"text": Scraped(1000, latency, cpu_ms)}, 5.0)
        return broken(findings)

    assert said(4.0, 3.0) == said(4.0, None) == []
    assert said(6.0, 3.0) == ["text: p50"]
    assert said(4.0, 5.5) == ["text: CPU"]


def starts(*on):
    """Each start's rounds by the pairs/s of the service that is observed; the other one's are 1,000."""
    return [[Round({ON: each, OFF: 1000.0}, {ON: 2.0, OFF: 2.0}) for each in rounds] for rounds in on]


def test_being_observed_is_judged_by_the_mean_over_starts_of_their_median_loss():
    def said(*on):
        findings = Findings("observability", [])
        judge_starts(findings, starts(*on), 0.02)
        return findings

    # A round that something disturbed weighs nothing.
    assert said([990.0, 985.0, 500.0], [984.0, 984.0, 1200.0], [986.0, 983.0, 985.0]).exit is Exit.HELD
    assert said([975.0], [976.0], [977.0]).exit is Exit.BROKEN
    # However alike the rounds of a start are, starts that differ leave the mean unknown.
    assert said([1000.0] * 9, [960.0] * 9, [990.0] * 9).exit is Exit.INVALID
    assert said([990.0] * 9).exit is Exit.INVALID


def test_the_interval_over_starts_is_students():
    findings = Findings("observability", [])
    judge_starts(findings, starts([970.0], [980.0], [990.0]), 0.02)
    # 1 % * 4.303 / sqrt(3) = 2.48 %
    assert "mean +2.00% [-0.4" in findings.checks[0].measured
    assert "+4.4" in findings.checks[0].measured
    assert findings.invalid


def test_the_service_counts_what_the_generator_sees(loadtest, artifact, tmp_path):
    report = tmp_path / "counts.json"
    # Faults of its own, early: the tiny model runs few micro-batches.
    options = ("--calm=10", "--wild-s=3", "--wild-rate=200", "--setting=LANES=1")
    faults = "--setting=PLANTED_FAULTS=exception@100,nan@120,pace:2"
    done = loadtest("counts", "--artifact", artifact, *options, faults, "--json", report)
    assert done.returncode == 0, done.stdout + done.stderr
    checks = json.loads(report.read_text())["checks"]
    counted = {check["what"]: float(check["measured"]) for check in checks if check["what"].startswith("wild: ")}
    assert all(counted[f"wild: {each}"] for each in ("scored", "shed", "late", "invalid", "gone"))


def test_what_a_scrape_costs_is_measured_in_every_format(loadtest, artifact):
    done = loadtest("scrape", "--artifact", artifact, "--scrapes=20", "--requests=50", "--max-ms=60000")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("text", "OpenMetrics", "protobuf"):
        assert f"{name}: CPU" in done.stdout


def test_a_service_that_counts_nothing_takes_part(loadtest, artifact, tmp_path):
    report = tmp_path / "cost.json"
    options = (
        "--starts=2",
        "--rounds=2",
        "--requests=10",
        "--distinct=5",
        "--scrape-s=0.05",
        "--max-loss=1000",
        "--json",
        report,
    )
    done = loadtest("observability", "--artifact", artifact, *options, "--on=LOG_LEVEL=debug")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())["starts"]
    assert [len(rounds) for rounds in found] == [2, 2]
    assert all(each["pairs_per_s"][name] > 0 for rounds in found for each in rounds for name in (ON, OFF))


def test_a_control_that_silences_nothing_is_no_control(loadtest, artifact):
    done = loadtest("observability", "--artifact", artifact, "--on=nonsense")
    assert done.returncode == Exit.UNUSABLE
    assert "expected NAME=VALUE" in done.stderr
