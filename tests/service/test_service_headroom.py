"""The factor on predictions: by itself, and in a service on a machine whose speed wanders faster than it is learned."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ClientGoneError, DeadlineExceededError
from service.headroom import FADE_S, LATE_SHARE, LEAST, MOST, STEP, Headroom
from service.job import Job
from service.metrics import Metrics
from service.overload import Overload

from .simulation import Simulation
from .test_service_admission import goodput, offer

SECONDS = 30


def test_while_nobody_is_late_it_stays_at_its_least():
    headroom = Headroom()
    for number in range(1000):
        headroom.observe(number / 100, late=False)
    assert headroom.ratio(10.0) == LEAST


@pytest.mark.parametrize("spread", [0.1, 0.15])
def test_among_many_it_settles_where_the_wanted_share_takes_longer(spread):
    """Times are log-normal around the prediction: the share over e^(2.576 spread) is one in 200."""
    headroom, source = Headroom(), random.Random(1)
    late, per_second = [], 2000
    for number in range(60_000):
        late.append(source.lognormvariate(0.0, spread) > headroom.ratio(number / per_second))
        headroom.observe(number / per_second, late=late[-1])
    assert sum(late[20_000:]) / 40_000 == pytest.approx(LATE_SHARE, rel=0.25)
    assert headroom.ratio(30.0) == pytest.approx(2.718 ** (2.576 * spread), abs=0.15)


def test_a_stall_that_makes_many_late_at_once_fades_whoever_comes_after_it():
    headroom = Headroom()
    for _ in range(3):
        headroom.observe(5.0, late=True)
    assert headroom.ratio(5.0) == pytest.approx(LEAST + 3 * STEP)
    for _ in range(100):
        headroom.observe(5.0, late=True)
    assert headroom.ratio(5.0) == pytest.approx(MOST)
    assert headroom.ratio(5.0 + FADE_S) == pytest.approx(LEAST + (MOST - LEAST) / 2.718, rel=1e-3)
    headroom.observe(5.0 + 10 * FADE_S, late=False)
    assert headroom.ratio(5.0 + 10 * FADE_S) == LEAST


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=200))
def test_it_stays_within_its_bounds(requests):
    headroom, now = Headroom(), 0.0
    for after_s, late in requests:
        now += after_s
        headroom.observe(now, late=late)
        assert LEAST <= headroom.ratio(now) <= MOST


@pytest.mark.parametrize(
    ("taken_s", "error", "predicted_s", "partial", "raised"),
    [
        (0.5, None, 0.4, False, False),
        # On time, but not by as much as answers take on from there.
        (0.995, None, 0.4, False, True),
        (1.0, DeadlineExceededError("late"), 0.4, False, True),
        (1.0, DeadlineExceededError("late"), 0.4, True, False),
        (1.0, ClientGoneError("gone"), 0.4, False, False),
        # It was let in with nothing in work, and hopeless from the start.
        (1.0, DeadlineExceededError("late"), 0.95, False, False),
    ],
)
def test_it_learns_from_those_that_could_be_on_time_and_were_or_were_not(taken_s, error, predicted_s, partial, raised):
    metrics = Metrics()
    overload = Overload(
        lanes=lambda: 1, micro_batch_s=lambda: 0.0, max_backlog_s=2.0, metrics=metrics, random_source=random.Random(0)
    )
    for _ in range(100):
        overload.answer_lag.observe(0.01)
    job = Job("q", [{}], deadline=11.0, partial=partial, request_id="r", submitted=10.0, on_finish=lambda: None)
    job.expect(0.1)
    overload.backlog.enter(job, 10.0)
    job.predicted_s = predicted_s
    if error is not None:
        job.end(error)
    overload.backlog.leave(job, 10.0 + taken_s)
    assert (overload.headroom.ratio(10.0 + taken_s) > LEAST) is raised


def wandering(seed):
    """Three times the capacity on a machine that is now and then half as fast again, for 100 to 300 ms."""
    simulation, source = Simulation(), random.Random(seed)
    offer(simulation, 3, SECONDS, lambda: (16, 0.2, False))
    at = 0.0
    while at < SECONDS:
        slowness = source.choice([1.0, 1.0, 1.0, 1.5])
        simulation.at(at, lambda slowness=slowness: setattr(simulation.engine, "slowness", slowness))
        at += source.uniform(0.1, 0.3)
    simulation.run(SECONDS + 1)
    return simulation


def late_share(simulation):
    late = [job for job in simulation.late() if job.times.submitted > 110.0]
    return len(late) / sum(job.times.submitted > 110.0 for job, _ in simulation.ended)


def test_on_a_machine_that_wanders_few_of_those_admitted_are_late_and_the_lanes_have_work_as_before(monkeypatch):
    learned = wandering(1)
    monkeypatch.setattr("service.headroom.STEP", 0.0)
    fixed = wandering(1)
    assert late_share(fixed) > 0.02
    assert late_share(learned) < 0.01
    assert goodput(learned, 10.0, SECONDS) > goodput(fixed, 10.0, SECONDS)


def test_after_one_stall_requests_that_nearly_fill_their_deadline_are_soon_admitted_again():
    """They are not promised anything while the factor is high, and so could not bring it down."""
    simulation = Simulation()
    for _ in range(60):
        simulation.submit(4, 0.3)
    simulation.at(0.01, lambda: setattr(simulation.engine, "slowness", 500.0))
    simulation.at(0.5, lambda: setattr(simulation.engine, "slowness", 1.0))
    offer(simulation, 0.5, 60, lambda: (64, 0.08, False), start=1.0)
    simulation.run(2.0)
    assert simulation.overload.headroom.ratio(102.0) > 1.4
    simulation.run(62.0)
    assert simulation.overload.headroom.ratio(simulation.clock.now) < 1.25
