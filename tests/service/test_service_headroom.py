"""The factor on predictions: by itself, and in a service on a machine whose speed wanders faster than it is learned."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.headroom import LATE_SHARE, LEAST, MOST, STEP, Headroom

from .simulation import Simulation
from .test_service_admission import goodput, offer

SECONDS = 30


def test_while_nobody_is_late_it_stays_at_its_least():
    headroom = Headroom()
    for _ in range(1000):
        headroom.observe(late=False)
    assert headroom.ratio == LEAST


@pytest.mark.parametrize("spread", [0.1, 0.2])
def test_it_settles_where_the_wanted_share_takes_longer(spread):
    """Times are log-normal around the prediction: the share over e^(2.576 spread) is one in 200."""
    headroom, source = Headroom(), random.Random(1)
    late = []
    for _ in range(40_000):
        late.append(source.lognormvariate(0.0, spread) > headroom.ratio)
        headroom.observe(late=late[-1])
    assert sum(late[10_000:]) / 30_000 == pytest.approx(LATE_SHARE, rel=0.25)
    assert headroom.ratio == pytest.approx(2.718 ** (2.576 * spread), abs=0.15)


def test_a_stall_that_makes_many_late_at_once_is_forgotten():
    headroom = Headroom()
    for _ in range(5):
        headroom.observe(late=True)
    assert headroom.ratio == pytest.approx(LEAST + 5 * STEP)
    for _ in range(1000):
        headroom.observe(late=False)
    assert headroom.ratio == LEAST


@given(st.lists(st.booleans(), max_size=500))
def test_it_stays_within_its_bounds(late):
    headroom = Headroom()
    for each in late:
        headroom.observe(late=each)
        assert LEAST <= headroom.ratio <= MOST


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
