"""Admission by predicted time: first by itself, then in a service under overload on a simulated clock."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.admission import STRETCH, BoundedBacklog, PredictedTime, RetryAfter
from service.backlog import Backlog
from service.errors import BacklogFullError, OverloadedError, PredictedLateError
from service.job import Job

from .simulation import BUDGET_TOKENS, PAIR_S, PRODUCT_S, Simulation

SECONDS = 6
MICRO_BATCH_S = 0.010
HEADROOM = 1.15


def job_of(products, deadline=1.0, partial=False):
    """A job that takes one lane a millisecond per product."""
    job = Job(
        "q",
        [{}] * products,
        deadline=deadline,
        partial=partial,
        request_id="r",
        submitted=0.0,
        on_finish=lambda: None,
    )
    job.expect(products / 1000, at_first=MICRO_BATCH_S if partial else None)
    return job


def retry_after(rate=1.0):
    return RetryAfter(lambda: rate, random.Random(0))


def predicted_time(lanes=1):
    return PredictedTime(lambda: MICRO_BATCH_S, lambda: lanes, lambda: 0.0, lambda _: HEADROOM, retry_after(lanes))


def backlog_of(*jobs, lanes=1):
    backlog = Backlog(predicted_time(lanes), lambda *_: None)
    for job in jobs:
        backlog.enter(job, 0.0)
    return backlog


def admits(backlog, job, now=0.0):
    try:
        backlog.enter(job, now)
    except OverloadedError:
        return False
    return True


def test_with_nothing_in_work_everything_is_admitted_and_what_is_hopeless_is_not_promised():
    hopeless, easy = job_of(1000, 0.001), job_of(10)
    assert admits(backlog_of(), hopeless)
    assert not hopeless.promised
    assert admits(backlog_of(), easy)
    assert easy.promised


def test_work_that_is_dead_does_not_count():
    dead = job_of(800, 1.0)
    assert not admits(backlog_of(dead), job_of(500, 1.1))
    assert admits(backlog_of(dead), job_of(500, 1.6), now=1.0)
    backlog = backlog_of(dead)
    dead.end(TimeoutError())
    assert admits(backlog, job_of(500, 1.1))


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_backlog_is_shared_by_the_lanes(lanes):
    assert admits(backlog_of(job_of(400 * lanes), lanes=lanes), job_of(400 * lanes, 1.0))
    assert not admits(backlog_of(job_of(400 * lanes), lanes=lanes), job_of(600 * lanes, 1.0))


def test_work_that_is_done_does_not_count():
    half_done = job_of(800, 1.0)
    backlog = backlog_of(half_done)
    half_done.spend(0.5)
    assert admits(backlog, job_of(400, 1.0))


def test_a_small_request_is_due_before_large_ones_that_came_earlier():
    large = [job_of(200, 1.0) for _ in range(4)]
    backlog = backlog_of(*large)
    small = job_of(1, 1.0)
    assert admits(backlog, small)
    assert small.due < min(job.due for job in large)
    assert small.predicted_s < 0.02
    assert not admits(backlog, job_of(1, 0.01))


@given(products=st.integers(1, 4000), fewer=st.integers(0, 3999), lanes=st.integers(1, 4))
def test_a_request_waits_for_a_smaller_one_that_comes_later_by_what_it_is_larger_and_no_more(products, fewer, lanes):
    larger, smaller = job_of(products, 60.0), job_of(max(1, products - fewer), 60.0)
    assert admits(backlog_of(lanes=lanes), larger)
    lead_s = STRETCH * (larger.remaining_s - smaller.remaining_s) / lanes
    assert admits(backlog_of(lanes=lanes), smaller, now=lead_s + 1e-6)
    assert larger.due < smaller.due


def test_a_request_that_would_make_others_late_by_going_first_is_due_at_its_deadline():
    tight = job_of(800, 0.95)
    backlog = backlog_of(tight)
    later = job_of(20, 2.0)
    assert admits(backlog, later)
    assert later.due == 2.0 > tight.due


def test_a_request_is_refused_that_would_make_an_admitted_one_late():
    first = job_of(750, 1.0)
    backlog = backlog_of(first)
    assert not admits(backlog, job_of(200, 0.9))
    assert admits(backlog, job_of(80, 0.9))
    assert not admits(backlog, job_of(80, 0.9))


def test_what_is_small_may_use_up_the_headroom_of_what_is_large_but_no_more():
    backlog = backlog_of(job_of(850, 1.0))
    assert not admits(backlog, job_of(50, 0.5))
    admitted = [admits(backlog, job_of(9, 0.5)) for _ in range(30)]
    assert admitted == [True] * admitted.count(True) + [False] * admitted.count(False)
    # 140 ms to spare, of which 48 are kept.
    assert admitted.count(True) == 10


def test_a_request_that_is_hopeless_by_itself_protects_nothing():
    assert admits(backlog_of(job_of(1000, 0.5)), job_of(100, 0.4))


def test_a_partial_request_is_admitted_where_a_first_part_is_done_in_time():
    queued = job_of(80, 0.1)
    assert not admits(backlog_of(queued), job_of(500, 0.3))
    assert admits(backlog_of(queued), job_of(500, 0.3, partial=True))
    assert not admits(backlog_of(queued), job_of(500, 0.02, partial=True))


def test_a_partial_request_in_work_takes_no_more_than_the_time_to_its_deadline():
    assert admits(backlog_of(job_of(1000, 0.2, partial=True)), job_of(100, 0.5))


def test_the_backlog_is_bounded_in_predicted_time_whatever_the_deadlines_are():
    limit = BoundedBacklog(lambda: 0.5, lambda: 2, retry_after())
    backlog = Backlog(limit, lambda *_: None)
    backlog.enter(job_of(5000, 1e6), 0.0)
    with pytest.raises(BacklogFullError, match="the backlog of 2500 ms has no room for 0 ms more"):
        backlog.enter(job_of(1, 1e6), 0.0)
    small = Backlog(limit, lambda *_: None)
    admitted = [admits(small, job_of(100, 1e6)) for _ in range(20)]
    assert admitted.count(True) == 10
    assert small.seconds == pytest.approx(1.0)
    assert (small.products, len(small)) == (1000, 10)


def test_a_refusal_says_when_the_backlog_has_drained_at_the_rate_at_which_it_does():
    with pytest.raises(PredictedLateError) as refusal:
        backlog_of(job_of(2000, 3.0)).enter(job_of(4000, 3.0), 0.0)
    late_s = 6.010 * HEADROOM - 3.0
    assert late_s < int(refusal.value.headers["retry-after"]) <= 2 * late_s + 1
    assert refusal.value.reason == "predicted_late"


def test_those_refused_together_are_told_to_come_back_at_different_times():
    source = retry_after(rate=0.5)
    waits = [source.seconds(5.0) for _ in range(200)]
    assert min(waits) >= 10
    assert max(waits) <= 20
    assert len(set(waits)) > 5
    assert {source.seconds(0.001) for _ in range(200)} == {1, 2}


REQUESTS = st.lists(
    st.tuples(
        st.floats(0.0, 2.0),
        st.sampled_from([1, 1, 5, 20, 64, 200, 1000]),
        st.sampled_from([0.02, 0.1, 0.4, 1.0]),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(REQUESTS, st.sampled_from([1, 2, 4]))
def test_whoever_is_admitted_and_promised_is_done_by_its_deadline_whatever_else_comes(requests, lanes):
    """No starvation: not of small requests by large ones, nor of large ones by a stream of small ones."""
    simulation = Simulation(lanes)
    jobs = []
    for when, products, timeout_s in requests:
        simulation.at(when, lambda n=products, t=timeout_s: jobs.append(simulation.submit(n, t)))
    simulation.run(4.0)
    finished = {id(job): when for job, when in simulation.ended}
    unit_s = BUDGET_TOKENS / 8 * PRODUCT_S
    for job in filter(None, jobs):
        assert job.ended
        if job.promised:
            assert job.error is None or finished[id(job)] <= job.deadline + unit_s
            assert job.error is None
    assert len(simulation.backlog) == simulation.lanes.waiting == 0


@pytest.mark.parametrize("interval_s", [0.003, 0.001])
def test_a_large_request_is_done_in_time_under_a_stream_of_small_ones(interval_s):
    simulation = Simulation(lanes=1)
    for _ in range(10):
        simulation.submit(32, 0.5)
    simulation.run(0.4)
    large = simulation.submit(500, 1.0)
    for i in range(int(1.5 / interval_s)):
        simulation.at(0.4 + i * interval_s, lambda: simulation.submit(1, 0.05))
    simulation.run(3.0)
    assert large.error is None
    assert len(simulation.in_time()) > 200


def offer(simulation, load, seconds, request, start=0.0):
    """Requests of `request()` = (products, timeout in seconds, partial), at `load` times the capacity."""
    offered = 0
    while (when := offered / (load * simulation.capacity)) < seconds:
        products, timeout_s, partial = request()
        offered += products
        simulation.at(
            start + when, lambda n=products, timeout_s=timeout_s, p=partial: simulation.submit(n, timeout_s, p)
        )


def goodput(simulation, since=1.0, until=SECONDS):
    """Products of complete answers in time, as a share of the capacity."""
    products = sum(len(job.products) for job in simulation.in_time(since, until))
    return products / (until - since) / simulation.capacity


def test_without_prediction_overload_collapses():
    simulation = Simulation(admission=False)
    offer(simulation, 10, SECONDS, lambda: (64, 0.4, False))
    simulation.run(SECONDS + 2)
    assert goodput(simulation) < 0.2


@pytest.mark.parametrize("lanes", [1, 2, 8])
@pytest.mark.parametrize("load", [1.2, 10])
def test_under_overload_goodput_stays_and_every_admitted_request_is_on_time(load, lanes):
    simulation = Simulation(lanes)
    offer(simulation, load, SECONDS, lambda: (64, 0.4, False))
    simulation.run(SECONDS + 2)
    assert goodput(simulation) > 0.9
    assert simulation.late() == []
    assert simulation.backlog.products == 0


def test_below_capacity_nothing_is_refused():
    simulation = Simulation()
    offer(simulation, 0.9, SECONDS, lambda: (64, 0.4, False))
    simulation.run(SECONDS + 2)
    assert simulation.refused == simulation.late() == []


def test_under_overload_of_mixed_deadlines_every_admitted_request_is_on_time():
    simulation, choose = Simulation(), random.Random(1)
    offer(simulation, 10, SECONDS, lambda: (64, choose.choice([0.1, 0.4, 1.0]), False))
    simulation.run(SECONDS + 2)
    assert goodput(simulation) > 0.9
    assert simulation.late() == []


def test_under_overload_of_mixed_sizes_goodput_stays():
    simulation, choose = Simulation(), random.Random(1)
    offer(simulation, 10, SECONDS, lambda: (choose.choice([10, 20, 64, 100, 200, 500]), 0.4, False))
    simulation.run(SECONDS + 2)
    assert goodput(simulation) > 0.93
    assert len(simulation.late()) < 0.02 * len(simulation.ended)


def test_under_overload_partial_requests_keep_the_lanes_busy_and_get_a_first_part():
    simulation = Simulation()
    offer(simulation, 10, SECONDS, lambda: (200, 0.2, True))
    simulation.run(SECONDS + 2)
    assert simulation.engine.scored_products > 0.9 * SECONDS * simulation.capacity
    scored = [bool(job.results()[1].any()) for job, _ in simulation.ended]
    assert scored.count(True) > 0.9 * len(scored)


@pytest.mark.parametrize("lanes", [1, 2])
def test_a_partial_request_of_a_thousand_products_gets_its_first_ones_within_a_few_micro_batches(lanes):
    simulation = Simulation(lanes)
    job = simulation.submit(1000, 0.045, partial=True)
    simulation.run(1.0)
    scored = job.results()[1]
    first = int(scored.argmin())
    assert first >= 16
    assert not scored[first + 64 :].any()


def test_small_requests_are_admitted_and_fast_beside_an_overload_of_large_ones():
    simulation = Simulation()
    offer(simulation, 10, SECONDS, lambda: (200, 0.4, False))
    small = []
    for i in range(100):
        simulation.at(0.5 + i * 0.05, lambda: small.append(simulation.submit(1, 0.1)))
    simulation.run(SECONDS + 2)
    assert None not in small
    assert all(job.error is None for job in small)
    assert goodput(simulation) > 0.9


def test_after_an_overload_everything_is_admitted_again():
    simulation = Simulation()
    offer(simulation, 10, 2, lambda: (64, 0.4, False))
    simulation.run(2.5)
    refused = len(simulation.refused)
    offer(simulation, 0.8, 2, lambda: (64, 0.4, False), start=2.5)
    simulation.run(6)
    assert len(simulation.refused) == refused
    assert simulation.late() == []


def test_a_machine_that_slows_down_is_followed():
    simulation = Simulation()
    offer(simulation, 2, SECONDS, lambda: (64, 0.4, False))
    simulation.at(2.0, lambda: setattr(simulation.engine, "slowness", 4.0))
    simulation.run(SECONDS + 2)
    assert simulation.cost.ratio == pytest.approx(4, rel=0.1)
    assert goodput(simulation, since=3.0) > 0.8 / 4
    assert [job for job in simulation.late() if job.times.submitted > 103.0] == []


def test_one_stall_sheds_for_a_moment_only():
    simulation = Simulation()
    offer(simulation, 0.8, SECONDS, lambda: (64, 0.4, False))
    simulation.at(2.0, lambda: setattr(simulation.engine, "slowness", 200.0))
    simulation.at(2.05, lambda: setattr(simulation.engine, "slowness", 1.0))
    simulation.run(SECONDS + 2)
    assert goodput(simulation, since=4.5) > 0.75
    assert simulation.cost.ratio == pytest.approx(1, rel=0.1)


def test_the_backlog_of_a_caller_that_left_is_gone_at_once():
    simulation = Simulation(lanes=1)
    jobs = [simulation.submit(250, 1.0) for _ in range(3)]
    assert simulation.submit(250, 1.0) is None
    simulation.leave(jobs[1])
    assert simulation.submit(250, 1.0) is not None
    simulation.run(2)
    assert len(simulation.in_time()) == 3


def test_predictions_are_compared_with_what_came_true():
    simulation = Simulation()
    offer(simulation, 3, SECONDS, lambda: (64, 0.4, False))
    simulation.run(SECONDS + 2)
    read = simulation.metrics.registry.get_sample_value
    count = read("shelfscore_admission_prediction_ratio_count")
    assert count == len(simulation.in_time())
    assert read("shelfscore_admission_prediction_ratio_sum") / count == pytest.approx(0.95, abs=0.1)


@pytest.mark.parametrize("load", [0.6, 3])
def test_where_a_run_is_dear_by_itself_many_callers_share_one_and_nobody_is_late(load):
    """As on a GPU: 10 ms a run, 1 ms a pair, 16 pairs at most. One by one 91 requests of one pair a second, by
    sixteens 615. Admission counts each as if alone, and yet lets in enough for whole runs.
    """
    simulation = Simulation(lanes=1, run_s=0.01)
    together = 16 / (0.01 + 16 * PAIR_S)
    for i in range(int(SECONDS * load * together)):
        simulation.at(i / (load * together), lambda: simulation.submit(1, 0.2))
    simulation.run(SECONDS + 2)
    goodput = len(simulation.in_time(1.0, SECONDS)) / (SECONDS - 1) / together
    assert goodput > min(0.95 * load, 0.7)
    assert simulation.late() == []
