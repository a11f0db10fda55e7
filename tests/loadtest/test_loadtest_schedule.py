"""Arrivals are decided before the first request is sent."""

import statistics
from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.generator.schedule import poisson_schedule


def schedule(**changes):
    defaults = {"rate": 50, "warmup_s": 2, "duration_s": 20, "requests": 7, "max_arrivals": 10_000, "seed": 1}
    return poisson_schedule(**{**defaults, **changes})


def test_the_same_seed_gives_the_same_schedule():
    assert schedule() == schedule()


def test_another_seed_gives_another_schedule():
    assert [a.due_s for a in schedule()] != [a.due_s for a in schedule(seed=2)]


def test_gaps_are_exponential_with_the_rate_asked_for():
    due = [arrival.due_s for arrival in schedule(duration_s=1000, max_arrivals=100_000)]
    gaps = [later - earlier for earlier, later in pairwise(due)]
    assert abs(statistics.fmean(gaps) * 50 - 1) < 0.03
    assert abs(statistics.stdev(gaps) * 50 - 1) < 0.03


def test_arrivals_of_the_warm_up_are_not_counted():
    for arrival in schedule():
        assert arrival.counted == (arrival.due_s >= 2)


def test_a_longer_run_starts_like_a_shorter_one():
    assert schedule(duration_s=30)[: len(schedule())] == schedule()


@settings(deadline=None)
@given(requests=st.integers(1, 40), passes=st.integers(1, 4), seed=st.integers())
def test_each_request_is_played_once_before_any_is_played_again(requests, passes, seed):
    arrivals = schedule(
        requests=requests, max_arrivals=requests * passes, rate=1000, duration_s=60, warmup_s=0, seed=seed
    )
    assert Counter(arrival.request for arrival in arrivals) == dict.fromkeys(range(requests), passes)


def test_the_schedule_is_bounded_in_count_and_time():
    assert len(schedule(rate=1e6, max_arrivals=100)) == 100
    assert all(arrival.due_s < 22 for arrival in schedule())
