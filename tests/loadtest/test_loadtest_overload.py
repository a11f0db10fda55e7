"""What `overload` concludes from what was measured, its rated load included: every verdict from hand-made samples."""

import argparse
import random
from dataclasses import replace

import pytest

from loadtest.client import Endpoint
from loadtest.errors import Exit
from loadtest.generator.wire import wire_request
from loadtest.measure import Outcome
from loadtest.pages import render
from loadtest.promises.overload import phases_of
from loadtest.promises.overload_page import overload_figures
from loadtest.promises.overload_report import OverloadRun, judge_overload
from loadtest.promises.phases import Phase, last_rejection_s, recovery_s, summarise_phase
from loadtest.promises.rated import find_rated
from loadtest.promises.watch import Histogram, Probe, Reading

from .hand_made import broken, played, sample, shed

DEADLINE_MS = 200
OVERLOAD = argparse.Namespace(
    min_goodput=0.95,
    max_rejection_ms=10.0,
    max_ready_ms=20.0,
    max_metrics_ms=50.0,
    max_growth_mb=10.0,
    max_recovery_s=5.0,
    max_lag_ms=10.0,
)


def at_rate(rate, phase):
    return [phase.start_s + (number + 0.5) / rate for number in range(round(rate * phase.seconds))]


def held_run():
    """10 requests/s are rated; above, 10 a second are accepted and the rest is shed."""
    phases = phases_of([(1, 10), (2, 10), (10, 10), (1, 10)])
    samples = []
    for phase in phases:
        for number, due_s in enumerate(at_rate(10 * phase.factor, phase)):
            samples.append(sample(due_s) if number % phase.factor == 0 else shed(due_s))
    ticks = [number / 10 for number in range(400)]
    return OverloadRun(
        products=64,
        deadline_ms=DEADLINE_MS,
        rated=10.0,
        phases=phases,
        played=played(samples),
        ready=[Probe(tick, tick + 0.002, 200) for tick in ticks],
        metrics=[Probe(tick, tick + 0.005, 200) for tick in ticks],
        readings=[Reading(half / 2, half, 200_000_000, half * 0.75) for half in range(80)],
        micro_batches=Histogram({0.01: 90.0, 0.02: 100.0}, 0.8, 100.0),
        neighbours="alone",
    )


def verdict(run):
    return judge_overload(run, OVERLOAD, "made by hand")


def with_samples(run, change):
    return replace(run, played=played([change(each) for each in run.played.samples]))


def test_promises_that_hold_under_overload_exit_0():
    findings = verdict(held_run())
    assert broken(findings) == []
    assert findings.exit is Exit.HELD
    assert "10x: goodput of rated" in findings.as_text()


def test_goodput_counts_what_was_complete_by_the_deadline_alone():
    late = verdict(with_samples(held_run(), lambda s: replace(s, done_s=s.due_s + 0.3) if s.due_s > 20 else s))
    assert "10x: goodput of rated" in broken(late)
    assert "10x: p99 of accepted" in broken(late)
    assert "2x: goodput of rated" not in broken(late)


def test_one_slow_rejection_breaks_the_promise_of_every_rejection():
    run = held_run()
    slow = [*run.played.samples, shed(15.0, took_ms=11.0)]
    assert broken(verdict(replace(run, played=played(slow)))) == ["2x: every 503 (p99 2.0)"]


def test_an_answer_later_than_a_micro_batch_behind_its_deadline_breaks_the_promise():
    run = held_run()
    within = [*run.played.samples, sample(15.0, DEADLINE_MS + 19, Outcome.LATE)]
    beyond = [*run.played.samples, sample(15.0, DEADLINE_MS + 21, Outcome.LATE)]
    assert broken(verdict(replace(run, played=played(within)))) == []
    assert any("past the deadline" in what for what in broken(verdict(replace(run, played=played(beyond)))))


def test_a_lost_request_breaks_the_promise():
    run = held_run()
    lost = [*run.played.samples, sample(25.0, 5, Outcome.FAILED, reason="the server closed the connection")]
    assert broken(verdict(replace(run, played=played(lost)))) == ["10x: failed requests"]


def test_probes_that_are_slow_or_refused_break_the_promise_at_the_highest_load():
    run = held_run()
    slow = [replace(probe, done_s=probe.due_s + 0.05) if 20 <= probe.due_s < 30 else probe for probe in run.ready]
    assert broken(verdict(replace(run, ready=slow))) == ["10x: /health/ready p99"]
    held_up = [replace(probe, done_s=probe.due_s + 0.06) if 20 <= probe.due_s < 30 else probe for probe in run.metrics]
    assert broken(verdict(replace(run, metrics=held_up))) == ["10x: /metrics p99"]
    refused = [replace(probe, status=503) if probe.due_s > 29 else probe for probe in run.ready]
    assert broken(verdict(replace(run, ready=refused))) == ["10x: probes not answered 200"]


def test_memory_that_grows_under_overload_breaks_the_promise():
    run = held_run()

    def growing(bytes_per_s):
        readings = [replace(each, rss_bytes=each.rss_bytes + int(each.at_s * bytes_per_s)) for each in run.readings]
        return broken(verdict(replace(run, readings=readings)))

    assert growing(0.4e6) == []
    assert growing(0.6e6) == ["memory above 1x: growth in 20 s"]
    assert verdict(replace(run, readings=run.readings[:1])).exit is Exit.INVALID


def test_a_generator_behind_its_schedule_makes_the_run_invalid():
    findings = verdict(with_samples(held_run(), lambda s: replace(s, sent_s=s.due_s + 0.02)))
    assert findings.exit is Exit.INVALID
    assert "INVALID: the generator sent 1 % of its requests 20.0 ms late or more" in findings.as_text()


def test_an_interrupted_run_is_not_judged():
    run = held_run()
    stopped = replace(run, played=replace(run.played, stopped=True))
    assert verdict(stopped).exit is Exit.INTERRUPTED


def test_recovery_is_the_first_second_whose_p99_is_back():
    after = Phase("1x", 1.0, 100.0, 110.0)
    slow_until = [sample(due_s, 300 if due_s < 102.45 else 50) for due_s in at_rate(20, after)]
    assert recovery_s(slow_until, after, 75.0) == pytest.approx(2.5)
    assert recovery_s([sample(due_s) for due_s in at_rate(20, after)], after, 75.0) == 0.0
    assert recovery_s([sample(due_s, 300) for due_s in at_rate(20, after)], after, 75.0) is None
    assert recovery_s([shed(due_s) for due_s in at_rate(20, after)], after, 75.0) is None


def slow_after_the_overload(seconds):
    """The held run, whose accepted requests take four times as long for a while after the overload."""
    return with_samples(held_run(), lambda s: replace(s, done_s=s.due_s + 0.19) if 30 < s.due_s < 30 + seconds else s)


def test_a_recovery_within_its_time_holds_and_one_that_takes_longer_breaks_the_promise():
    assert broken(verdict(held_run())) == []
    assert broken(verdict(slow_after_the_overload(4.5))) == []
    assert broken(verdict(slow_after_the_overload(7.0))) == ["recovery: p99 over a second at most 75 ms"]
    findings = verdict(slow_after_the_overload(10.0))
    assert broken(findings) == ["recovery: p99 over a second at most 75 ms"]
    assert "not recovered" in findings.as_text()
    assert findings.raw["recovery_s"] is None


def test_an_overload_has_a_page_with_its_phases():
    run = held_run()
    html = render(verdict(run).page(overload_figures(run)))
    assert "HELD" in html
    assert html.count("<svg") == 4
    for name in ("10x: goodput of rated", ">10x<", "resident memory", "/health/ready"):
        assert name in html


def test_the_last_rejection_is_counted_from_the_end_of_the_overload():
    after = Phase("1x", 1.0, 100.0, 110.0)
    assert last_rejection_s([shed(99.0), shed(103.5), sample(105.0)], after) == 3.5
    assert last_rejection_s([sample(105.0)], after) == 0.0


def test_a_phase_counts_what_was_due_in_it_by_outcome():
    phase = Phase("2x", 2.0, 10.0, 20.0)
    samples = [sample(9.9), sample(10.0), sample(15, 300), shed(16), sample(17, 201, Outcome.LATE), sample(20.0)]
    summary = summarise_phase(phase, samples, 64, DEADLINE_MS, [], [], [])
    assert summary.outcomes == {"accepted": 2, "shed": 1, "late": 1, "failed": 0}
    assert summary.goodput_per_s == 64 / 10
    assert summary.offered_per_s == 0.4
    assert summary.late_by.max == pytest.approx(100.0)
    assert summary.retry_after == {"1": 1}
    assert summary.server_cores is None


def rated_by(run, step_s=60.0):
    """What the search for 1x finds where `run` plays its trials: the rate, the trials, what was said."""
    endpoint, told = Endpoint.parse("http://127.0.0.1:1"), []
    rated, tried = find_rated(
        endpoint,
        [wire_request(endpoint, b"{}", 1, {"x-request-timeout-ms": "200"})],
        deadline_ms=200,
        share=0.99,
        step_s=step_s,
        steps=6,
        seed=1,
        max_lag_ms=10.0,
        say=told.append,
        run=run,
    )
    return rated, tried, told


def test_the_rated_load_is_the_highest_rate_that_held():
    capacity = 30.0

    def run(plan):
        if not plan.arrivals:
            return replace(played([sample(number / 32) for number in range(320)]), elapsed_s=10.0)
        rate = len(plan.arrivals) / plan.arrivals[-1][0]
        return played([sample(due_s, 50 if rate <= capacity else 500) for due_s, _ in plan.arrivals])

    rated, tried, told = rated_by(run)
    assert 25 < rated <= 32
    assert [step.held for step in tried] == [step.rate <= rated for step in tried]
    assert told[0] == "closed loop, 3 in flight: 32.0 requests/s"


@pytest.mark.parametrize(("lasts", "found"), [(20.0, True), (0.0, False)])
def test_a_rate_that_held_in_a_fast_moment_is_not_the_rated_load(lasts, found):
    """The machine carries 30 a second in short trials, and `lasts` for longer."""

    def run(plan):
        if not plan.arrivals:
            return replace(played([sample(number / 32) for number in range(320)]), elapsed_s=10.0)
        seconds = plan.arrivals[-1][0]
        carried = 30.0 if seconds < 70 else lasts
        return played(
            [sample(due_s, 50 if len(plan.arrivals) / seconds <= carried else 500) for due_s, _ in plan.arrivals]
        )

    rated, tried, told = rated_by(run)
    confirmations = tried[6:]
    assert 1 < len(confirmations) <= 8
    assert not confirmations[0].held
    assert (17 < rated <= 20) if found else rated == 0.0
    assert "confirmation" in told[-1]


@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_search_that_is_interrupted_ends(steps_before):
    runs = []

    def run(plan):
        runs.append(plan)
        done = replace(played([sample(number / 32) for number in range(320)]), elapsed_s=10.0)
        return replace(done, stopped=len(runs) > steps_before)

    with pytest.raises(KeyboardInterrupt):
        rated_by(run, step_s=1.0)
    assert len(runs) == steps_before + 1


def test_the_samples_of_a_test_are_in_no_order():
    run = held_run()
    shuffled = random.Random(1).sample(run.played.samples, len(run.played.samples))
    assert verdict(replace(run, played=played(shuffled))).checks == verdict(run).checks
