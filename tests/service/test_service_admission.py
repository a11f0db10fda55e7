"""Admission by predicted time: first by itself, then in a service under overload on a simulated clock."""

import random

import pytest

from service.admission import BoundedQueue, PredictedTime
from service.cost import CostEstimate
from service.errors import OverloadedError, PredictedLateError
from service.job import Job

from .simulation import PRODUCT_S, Simulation

SECONDS = 6


def job_of(products, deadline=1.0, partial=False):
    return Job(
        "q",
        [{}] * products,
        deadline=deadline,
        partial=partial,
        request_id="r",
        submitted=0.0,
        on_finish=lambda: None,
    )


@pytest.fixture
def cost():
    estimate = CostEstimate()
    estimate.pairs.observe(0.010, 10)
    return estimate


def admits(rule, job, queued, now=0.0):
    try:
        rule.admit(job, now, queued)
    except OverloadedError:
        return False
    return True


def test_before_the_first_measurement_everything_is_admitted():
    assert admits(PredictedTime(CostEstimate(), 1), job_of(1000, 0.001), [job_of(1000)])


def test_with_nothing_in_work_everything_is_admitted(cost):
    assert admits(PredictedTime(cost, 1), job_of(1000, 0.001), [])


def test_work_that_is_dead_does_not_count(cost):
    rule, dead = PredictedTime(cost, 1), job_of(900, 1.0)
    assert not admits(rule, job_of(500, 1.1), [dead])
    assert admits(rule, job_of(500, 1.6), [dead], now=1.0)
    dead.end(TimeoutError())
    assert admits(rule, job_of(500, 1.1), [dead])


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_backlog_is_shared_by_the_lanes(cost, lanes):
    rule, queued = PredictedTime(cost, lanes), [job_of(300 * lanes)]
    assert admits(rule, job_of(300 * lanes, 1.0), queued)
    assert not admits(rule, job_of(600 * lanes, 1.0), queued)


def test_work_that_is_done_does_not_count(cost):
    half_done = job_of(900, 1.0)
    half_done.unscored = 300
    assert admits(PredictedTime(cost, 1), job_of(400, 1.0), [half_done])


def test_a_small_request_is_admitted_beside_any_number_of_large_ones(cost):
    rule, queued = PredictedTime(cost, 1), [job_of(800, 1.0) for _ in range(5)]
    assert admits(rule, job_of(1, 0.1), queued)
    assert admits(rule, job_of(1, 1.5), queued)
    assert not admits(rule, job_of(1, 0.01), queued)


def test_a_request_is_refused_that_would_make_an_admitted_one_late(cost):
    rule, first = PredictedTime(cost, 1), job_of(800, 1.0)
    rule.admit(first, 0.0, [])
    assert not admits(rule, job_of(300, 0.9), [first])
    assert admits(rule, job_of(100, 0.9), [first])
    assert not admits(rule, job_of(100, 0.9), [first])


def test_a_request_that_is_hopeless_by_itself_protects_nothing(cost):
    rule, hopeless = PredictedTime(cost, 1), job_of(1000, 0.5)
    rule.admit(hopeless, 0.0, [])
    assert admits(rule, job_of(100, 0.4), [hopeless])


def test_a_partial_request_is_admitted_where_a_first_part_is_done_in_time(cost):
    rule, queued = PredictedTime(cost, 1), [job_of(100, 0.1)]
    assert not admits(rule, job_of(500, 0.3), queued)
    assert admits(rule, job_of(500, 0.3, partial=True), queued)
    assert not admits(rule, job_of(500, 0.02, partial=True), queued)


def test_a_partial_request_in_work_takes_no_more_than_the_time_to_its_deadline(cost):
    assert admits(PredictedTime(cost, 1), job_of(100, 0.5), [job_of(1000, 0.2, partial=True)])


def test_the_refusal_says_in_whole_seconds_when_to_come_back(cost):
    with pytest.raises(PredictedLateError) as refusal:
        PredictedTime(cost, 1).admit(job_of(500, 3.0), 0.0, [job_of(500, 3.0) for _ in range(8)])
    assert refusal.value.headers == {"retry-after": "2"}
    assert refusal.value.reason == "predicted_late"
    with pytest.raises(OverloadedError) as refusal:
        BoundedQueue(4000, cost, 1).admit(job_of(500), 0.0, [job_of(3900)])
    assert refusal.value.headers == {"retry-after": "4"}
    assert refusal.value.reason == "queue_full"


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
    assert simulation.scorer.queued_products == 0


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
    assert goodput(simulation) > 0.8
    assert len(simulation.late()) < 0.05 * len(simulation.ended)


def test_under_overload_partial_requests_keep_the_lanes_busy_and_get_a_first_part():
    simulation = Simulation()
    offer(simulation, 10, SECONDS, lambda: (200, 0.2, True))
    simulation.run(SECONDS + 2)
    assert simulation.engine.scored_products > 0.9 * SECONDS * simulation.capacity
    scored = [bool(job.results()[1].any()) for job, _ in simulation.ended]
    assert scored.count(True) > 0.9 * len(scored)


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
    assert simulation.cost.product_s == pytest.approx(4 * PRODUCT_S, rel=0.1)
    assert goodput(simulation, since=3.0) > 0.8 / 4
    assert [job for job in simulation.late() if job.times.submitted > 103.0] == []


def test_one_stall_sheds_for_a_moment_only():
    simulation = Simulation()
    offer(simulation, 0.8, SECONDS, lambda: (64, 0.4, False))
    simulation.at(2.0, lambda: setattr(simulation.engine, "slowness", 200.0))
    simulation.at(2.05, lambda: setattr(simulation.engine, "slowness", 1.0))
    simulation.run(SECONDS + 2)
    assert goodput(simulation, since=4.5) > 0.75
    assert simulation.cost.product_s == pytest.approx(PRODUCT_S, rel=0.1)


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
