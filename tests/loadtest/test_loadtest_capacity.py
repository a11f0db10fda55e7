"""The capacity search against simulated servers: pure functions of the plan, noise and all, and no clock."""

import heapq
import math
import random
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from loadtest.capacity.bisection import Grid
from loadtest.capacity.criteria import Tally, objective
from loadtest.capacity.report import CapacityRun, capacity_figures, judge_capacity
from loadtest.capacity.search import Answer, find_capacity
from loadtest.capacity.trials import Examiner, Pace
from loadtest.client import Endpoint
from loadtest.errors import Exit
from loadtest.generator.plan import OpenSample, Played
from loadtest.generator.wire import wire_request
from loadtest.measure import Outcome
from loadtest.pages import render

ENDPOINT = Endpoint.parse("http://127.0.0.1:1")
P99_MS = 50.0


class SimulatedServer:
    """Lanes that serve one request each, first come first served; past `queue_s` of waiting it sheds.

    `noise` is the spread of one trial's speed, `hiccups` the share of trials in which it stands still for `hiccup_s`.
    """

    def __init__(self, service_ms, *, lanes=2, noise=0.0, hiccups=0.0, hiccup_s=0.4, queue_s=0.5, seed=1, lag_ms=0.0):
        self.service_ms, self.lanes, self.noise, self.queue_s, self.lag_ms = service_ms, lanes, noise, queue_s, lag_ms
        self.hiccups, self.hiccup_s = hiccups, hiccup_s
        self.random = random.Random(seed)
        self.plans = []

    def __call__(self, plan):
        self.plans.append(plan)
        if not plan.arrivals:
            count = int(self.lanes / self.service_ms * 1e3 * plan.duration_s)
            done = [OpenSample(0.0, 0.0, 0.1, Outcome.ACCEPTED, 200)] * count
            return Played(0.0, done, plan.duration_s, 0.0, 0, 3, stopped=False)
        slower = math.exp(self.random.gauss(0, self.noise))
        free_s = [0.0] * self.lanes
        if self.random.random() < self.hiccups:
            stands_until = plan.arrivals[len(plan.arrivals) // 2][0] + self.hiccup_s
        else:
            stands_until = 0.0
        samples = []
        for due_s, number in plan.arrivals:
            start_s = max(due_s, free_s[0])
            if stands_until - self.hiccup_s <= due_s < stands_until:
                start_s = max(start_s, stands_until)
            if start_s - due_s > self.queue_s:
                samples.append(OpenSample(due_s, due_s, due_s + 0.001, Outcome.SHED, 503, request=number))
                continue
            done_s = start_s + slower * self.service_ms / 1e3
            heapq.heapreplace(free_s, done_s)
            sent_s = due_s + self.lag_ms / 1e3
            samples.append(OpenSample(due_s, sent_s, done_s, Outcome.ACCEPTED, 200, request=number))
        return Played(0.0, samples, samples[-1].done_s, 0.0, 0, 3, stopped=False)


def examiner(server, *, criterion=None, seed=1, requests=1000, told=None, **options):
    wanted = criterion or objective(P99_MS, 0.01)
    made = [wire_request(ENDPOINT, b"{}", 1, {"x-request-timeout-ms": "200"})]
    say = (lambda _: None) if told is None else told.append
    pace = Pace(requests, 5.0, 300.0)
    return Examiner(ENDPOINT, made, wanted, pace, seed, 10.0, say, run=server, pause=lambda _: None, **options)


def found(server, *, checks=(), **options):
    trying = examiner(server, **options)
    answer = Answer(trying.closed_loop(1.0))
    find_capacity(trying, Grid(1.04), answer, confirm_times=3.0, checks=checks)
    return answer, trying


def capacity_of(service_ms, lanes):
    """What a patient search without noise finds."""
    answer, _ = found(SimulatedServer(service_ms, lanes=lanes), requests=4000)
    return answer.holds


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    service_ms=st.floats(6, 20),
    lanes=st.integers(1, 3),
    noise=st.floats(0, 0.01),
    seeds=st.tuples(st.integers(0, 999), st.integers(1000, 1999)),
)
def test_two_runs_on_one_machine_agree_within_a_tenth(service_ms, lanes, noise, seeds):
    answers = [found(SimulatedServer(service_ms, lanes=lanes, noise=noise, seed=seed))[0] for seed in seeds]
    rates = [answer.holds for answer in answers]
    assert all(answer.confirmed for answer in answers)
    assert max(rates) / min(rates) <= 1.10
    assert max(rates) < lanes / service_ms * 1e3


def test_the_answer_is_where_the_queue_begins_to_grow():
    answer, trying = found(SimulatedServer(16.0), requests=4000)
    assert answer.confirmed
    assert answer.holds < answer.breaks <= answer.holds * 1.04**2 + 1e-6
    assert 0.5 * 125 < answer.holds < 125
    slower, faster = (
        examiner(SimulatedServer(16.0), requests=8000).holds(answer.holds * share) for share in (0.9, 1.2)
    )
    assert (slower, faster) == (True, False)
    assert [trial.purpose for trial in trying.trials][-1] == "confirmation"


def test_a_machine_that_stumbles_now_and_then_gives_nearly_the_same_answer():
    steady = capacity_of(16.0, 2)
    for seed in range(3):
        answer, _ = found(SimulatedServer(16.0, hiccups=0.15, hiccup_s=0.15, seed=seed))
        assert answer.holds == pytest.approx(steady, rel=0.10)


@pytest.mark.parametrize("trial", [2, 3, 4, 6])
def test_one_trial_in_which_the_machine_is_busy_does_not_decide(trial):
    class Busy(SimulatedServer):
        """Four times as slow in one trial: the second is the first at a rate, after the closed loop."""

        def __call__(self, plan):
            self.service_ms = 64.0 if len(self.plans) + 1 == trial else 16.0
            return super().__call__(plan)

    steady, _ = found(SimulatedServer(16.0))
    stumbled, trying = found(Busy(16.0))
    assert not trying.trials[trial - 2].held
    assert stumbled.holds == pytest.approx(steady.holds, rel=0.05)


def test_every_rate_gets_the_same_pattern_of_arrivals():
    server = SimulatedServer(16.0)
    found(server, repeats=1)
    searched = [plan.arrivals for plan in server.plans if plan.arrivals][:4]
    first = searched[0]
    for other in searched[1:]:
        stretch = other[0][0] / first[0][0]
        assert [number for _, number in other[:500]] == [number for _, number in first[:500]]
        assert [due_s for due_s, _ in other[:500]] == pytest.approx([due_s * stretch for due_s, _ in first[:500]])


def test_a_slow_server_is_tried_for_longer_and_a_fast_one_for_more_requests():
    pace = Pace(1000, 10.0, 120.0)
    assert [pace.counted(rate) for rate in (2, 40, 500)] == [240, 1000, 5000]
    assert pace.times(3).counted(2) == 720
    server = SimulatedServer(16.0)
    trying = examiner(server)
    trying.holds(50.0)
    (trial,) = trying.trials
    assert 900 < len(trial.samples) < 1100
    # The warm-up, a tenth of it, is not counted.
    assert min(sample.due_s for sample in trial.samples) >= 2.0
    assert server.plans[0].arrivals[0][0] < 1.0


def test_a_confirmation_that_fails_steps_down_and_a_server_that_never_holds_has_no_capacity():
    class Tiring(SimulatedServer):
        """Holds less for as long as the confirmation takes."""

        def __call__(self, plan):
            long = bool(plan.arrivals) and len(plan.arrivals) > 2000
            self.service_ms = 16.0 * (1.1 if long else 1.0)
            return super().__call__(plan)

    tired, trying = found(Tiring(16.0))
    fresh, _ = found(SimulatedServer(16.0))
    assert tired.confirmed
    assert fresh.holds / 1.04**8 < tired.holds < fresh.holds
    assert tired.breaks == pytest.approx(tired.holds * 1.04)
    failed = [trial for trial in trying.trials if trial.purpose == "confirmation" and not trial.held]
    assert failed
    never, _ = found(SimulatedServer(80.0))
    assert (never.holds, never.confirmed) == (None, False)


def test_near_the_limit_the_majority_decides_and_elsewhere_the_first_trial():
    votes = iter([])

    def criterion(_):
        return [Tally("slow", next(votes), 10)]

    def trials_for(*missed):
        nonlocal votes
        votes = iter(missed)
        trying = examiner(SimulatedServer(16.0), criterion=criterion)
        return trying.holds(10.0), len(trying.trials)

    assert trials_for(0) == (True, 1)
    assert trials_for(31) == (False, 1)
    assert trials_for(11, 9, 9) == (True, 3)
    assert trials_for(9, 11, 12) == (False, 3)
    assert trials_for(9, 8) == (True, 2)
    assert trials_for(30, 25) == (False, 2)


def test_a_break_while_the_generator_was_late_is_tried_again():
    late = examiner(SimulatedServer(16.0, lag_ms=20.0))
    assert not late.holds(200.0)
    assert len(late.trials) == 3
    # Being late makes latencies longer and never shorter: what held all the same, held.
    held = examiner(SimulatedServer(16.0, lag_ms=20.0))
    assert held.holds(20.0)
    assert len(held.trials) == 1


def run_of(server, **options):
    answer, trying = found(server, **options)
    return CapacityRun(answer, trying.trials, [], 64, P99_MS)


def verdict(run, **options):
    return judge_capacity(run, [], **{"min_rate": None, "interrupted": False, **options})


def test_the_answer_stands_with_its_bracket_and_its_checks():
    run = run_of(SimulatedServer(16.0), checks=(0.9, 1.2))
    findings = verdict(run)
    assert findings.exit is Exit.HELD
    assert run.answer.checks == {0.9: True, 1.2: False}
    text = findings.as_text()
    assert f"{run.answer.holds:.1f} requests/s" in text
    assert f"lowest that did not: {run.answer.breaks:.1f}" in text
    assert findings.raw["answer"]["holds"] == run.answer.holds
    assert len(findings.raw["trials"]) == len(run.trials)
    assert verdict(run, min_rate=run.answer.holds + 1).exit is Exit.BROKEN
    assert verdict(run, interrupted=True).exit is Exit.INTERRUPTED


@pytest.mark.parametrize("checks", [{0.9: False}, {1.2: True}, {0.9: True, 1.2: True}])
def test_nine_tenths_that_break_or_a_fifth_more_that_holds_refute_the_answer(checks):
    run = run_of(SimulatedServer(16.0))
    refuted = replace(run, answer=replace(run.answer, checks=checks))
    assert verdict(refuted).exit is Exit.BROKEN


def test_a_server_that_holds_nothing_is_broken_and_one_behind_a_late_generator_answers_nothing():
    assert verdict(run_of(SimulatedServer(80.0))).exit is Exit.BROKEN
    run = run_of(SimulatedServer(16.0))
    late = [replace(trial, generator_late=True) for trial in run.trials]
    findings = verdict(replace(run, trials=late))
    assert findings.exit is Exit.INVALID
    assert "for want of a generator" in findings.as_text()


def test_a_check_that_broke_behind_a_late_generator_answers_nothing():
    run = run_of(SimulatedServer(16.0), checks=(1.2,))
    late = [replace(trial, generator_late=trial.purpose == "check at 120%") for trial in run.trials]
    findings = verdict(replace(run, trials=late))
    assert findings.exit is Exit.INVALID
    assert "late in every trial at 120%" in findings.as_text()


def test_a_check_that_broke_because_the_server_died_confirms_nothing():
    run = replace(run_of(SimulatedServer(16.0), checks=(1.2,)), gone="no server at http://127.0.0.1:1")
    findings = verdict(run)
    assert findings.exit is Exit.BROKEN
    assert "no server at http://127.0.0.1:1" in findings.as_text()
    assert verdict(run, interrupted=True).exit is Exit.INTERRUPTED


def test_a_capacity_has_a_page_with_its_rates():
    run = run_of(SimulatedServer(16.0), checks=(0.9,))
    html = render(verdict(run).page(capacity_figures(run)))
    assert html.count("<svg") == 3
    for name in ("confirmation", "check at 90%", "highest rate that held", "Rate against p99"):
        assert name in html
    assert capacity_figures(CapacityRun(Answer(0.0), [], [], 64, P99_MS)) == []


def test_a_search_that_is_stopped_keeps_what_it_found():
    server = SimulatedServer(16.0)

    def run(plan):
        return replace(server(plan), stopped=len(server.plans) > 3)

    trying = examiner(run)
    answer = Answer(trying.closed_loop(1.0))
    with pytest.raises(KeyboardInterrupt):
        find_capacity(trying, Grid(1.04), answer, confirm_times=3.0)
    assert len(trying.trials) == 2
