"""Split models in a service on a simulated clock: encoding counts in predictions, and blocks nobody for long."""

import itertools
import random

import pytest

from .simulation import PAIR_S, Simulation
from .split_serving import ENCODE_S, CostlySplitEngine

MICRO_BATCH_S = 16 * PAIR_S
ENCODE_UNIT_S = 4 * ENCODE_S


def simulated(**options):
    return Simulation(engine=CostlySplitEngine, encode_s=ENCODE_S, **options)


def titles(count, prefix="cold"):
    return [f"{prefix} {i}" for i in range(count)]


def longest_turn(simulation):
    """Works on the first waiting unit, and what follows, until nothing waits. Returns the longest turn of a lane."""
    longest = 0.0
    while simulation.lanes.waiting:
        started = simulation.clock.now
        simulation.lanes.run_next()
        longest = max(longest, simulation.clock.now - started)
    return longest


def test_a_cold_request_that_cannot_make_its_deadline_is_shed_at_once_and_the_same_one_warm_is_admitted():
    simulation = simulated()
    simulation.engine.known.update(["1"])
    assert simulation.submit(16, 1.0) is not None
    waiting, now = simulation.lanes.waiting, simulation.clock.now
    assert simulation.submit(64, 0.15, titles=titles(64)) is None
    assert (simulation.clock.now, simulation.lanes.waiting, simulation.engine.encoded) == (now, waiting, [])
    simulation.engine.known.update(titles(64))
    job = simulation.submit(64, 0.15, titles=titles(64))
    simulation.run(1.0)
    assert job.error is None
    assert job.promised
    assert job in simulation.in_time()


def test_a_cold_request_with_time_enough_is_admitted_and_on_time():
    simulation = simulated()
    simulation.engine.known.update(["1"])
    simulation.submit(16, 1.0)
    job = simulation.submit(64, 0.3, titles=titles(64))
    simulation.run(1.0)
    assert job in simulation.in_time()


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_all_lanes_encode_a_cold_request(lanes):
    simulation = simulated(lanes=lanes)
    job = simulation.submit(64, 10.0, titles=titles(64))
    simulation.run(10.0)
    ((_, ended),) = simulation.ended
    assert job.error is None
    alone_s = 64 * (ENCODE_S + PAIR_S)
    assert alone_s / lanes <= ended - 100.0 < alone_s / lanes + 2 * ENCODE_UNIT_S


def test_no_unit_of_a_large_cold_request_takes_longer_than_a_micro_batch():
    simulation = simulated(lanes=1)
    simulation.submit(500, 100.0, titles=titles(500))
    assert longest_turn(simulation) <= max(MICRO_BATCH_S, ENCODE_UNIT_S) * 1.01


def test_a_small_warm_request_waits_for_one_unit_of_a_large_cold_one():
    simulation = simulated(lanes=1)
    simulation.engine.known.update(["1"])
    simulation.submit(300, 100.0, titles=titles(300))
    simulation.at(0.5, lambda: simulation.submit(1, 0.1))
    simulation.run(10.0)
    job, ended = simulation.ended[0]
    assert len(job.products) == 1
    assert ended - job.times.submitted < ENCODE_UNIT_S + MICRO_BATCH_S


def test_products_at_hand_are_not_prepared_again_however_many():
    simulation = simulated()
    simulation.engine.known.update(titles(1000, "warm"))
    simulation.submit(1000, 10.0, titles=titles(1000, "warm"))
    assert simulation.lanes.waiting == 1
    simulation.run(10.0)
    assert simulation.engine.encoded == []
    assert len(simulation.in_time()) == 1


def test_a_few_unknown_products_among_known_ones_are_encoded_alone():
    simulation = simulated()
    simulation.engine.known.update(titles(60, "warm"))
    job = simulation.submit(64, 10.0, titles=[*titles(30, "warm"), *titles(4), *titles(30, "warm")])
    simulation.run(10.0)
    assert job.error is None
    assert sorted(itertools.chain.from_iterable(simulation.engine.encoded)) == titles(4)


def test_a_partial_request_of_cold_products_returns_the_first_ones():
    simulation = simulated()
    job = simulation.submit(200, 0.1, partial=True, titles=titles(200))
    simulation.run(1.0)
    scored = job.results()[1]
    first = int(scored.argmin())
    assert first >= 16
    assert not scored[first + 16 :].any()
    # Two lanes did nothing else up to the deadline.
    assert scored.sum() * (ENCODE_S + PAIR_S) > 2 * 0.1 - 4 * ENCODE_UNIT_S


def test_a_partial_request_is_admitted_by_what_its_first_cold_products_take():
    simulation = simulated(lanes=1)
    simulation.engine.known.update(["1"])
    simulation.submit(16, 1.0)
    assert simulation.submit(200, 0.03, partial=True, titles=titles(200)) is None
    assert simulation.submit(200, 0.1, titles=titles(200)) is None
    assert simulation.submit(200, 0.1, partial=True, titles=titles(200)) is not None


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_under_overload_of_cold_and_warm_requests_every_admitted_one_is_on_time(noise):
    simulation, choose, fresh = simulated(noise=noise), random.Random(1), itertools.count()
    simulation.engine.known.update(["1"])

    def submit():
        cold = choose.choice([0, 0, 0, 8, 64])
        simulation.submit(64, 0.4, titles=["1"] * (64 - cold) + [f"new {next(fresh)}" for _ in range(cold)])

    for i in range(600):
        simulation.at(i * 0.01, submit)
    simulation.run(8)
    assert len(simulation.late()) <= noise * 0.1 * len(simulation.ended)
    assert len(simulation.refused) > 100
    read = simulation.metrics.registry.get_sample_value
    count = read("shelfscore_admission_prediction_ratio_count")
    assert read("shelfscore_admission_prediction_ratio_sum") / count == pytest.approx(0.95, abs=0.15)
    work_s = simulation.engine.scored_products * PAIR_S + sum(map(len, simulation.engine.encoded)) * ENCODE_S
    assert work_s > 0.85 * 2 * 6


def test_requests_of_different_queries_never_share_a_run_and_small_ones_are_scored_without_queueing_again():
    simulation = simulated(lanes=1)
    simulation.engine.known.update(["1"])
    for _ in range(5):
        simulation.submit(1, 1.0)
    for turn in range(5):
        simulation.lanes.run_next()
        assert len(simulation.ended) == turn + 1


def test_a_caller_who_leaves_takes_the_encoding_of_its_products_along():
    simulation = simulated(lanes=1)
    job = simulation.submit(64, 10.0, titles=titles(64))
    simulation.at(0.05, lambda: simulation.leave(job))
    simulation.run(10.0)
    assert len(simulation.engine.encoded) < 6
    assert simulation.backlog.seconds == 0
