"""Arrival processes: the rate that was asked for, in order, and the same for the same seed."""

import random
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.errors import LoadtestError
from loadtest.generator.arrivals import Burst, Poisson
from loadtest.generator.schedule import due_times

BURST = Burst(rate=50, factor=6, period_s=10, share=0.2, start_s=3)


def times(process, seed=1, end_s=2003, max_arrivals=1_000_000):
    return due_times(process, end_s=end_s, max_arrivals=max_arrivals, seed=seed)


processes = st.one_of(
    st.builds(Poisson, rate=st.floats(0.5, 500)),
    st.builds(
        Burst,
        rate=st.floats(0.5, 500),
        factor=st.floats(1, 50),
        period_s=st.floats(0.1, 60),
        share=st.floats(0.01, 0.99),
        start_s=st.floats(0, 10),
    ),
)


@settings(deadline=None, max_examples=50)
@given(process=processes, seed=st.integers())
def test_times_ascend_and_the_seed_decides_them(process, seed):
    first, again = (list(islice(process.times(random.Random(seed)), 200)) for _ in range(2))
    assert first == again
    assert all(0 < earlier <= later for earlier, later in pairwise(first))
    assert first != list(islice(process.times(random.Random(seed + 1)), 200))


@settings(deadline=None, max_examples=25)
@given(rate=st.floats(5, 50), factor=st.floats(1, 20), periods=st.integers(1, 40), share=st.floats(0.05, 0.95))
def test_bursts_have_the_mean_rate_that_was_asked_for(rate, factor, periods, share):
    length_s = 4000 / rate
    due = times(Burst(rate, factor, length_s / periods, share), end_s=length_s)
    # Five standard deviations of a Poisson count.
    assert abs(len(due) - 4000) < 5 * 4000**0.5


def test_a_burst_is_as_many_times_denser_as_was_asked_for():
    due = times(BURST)
    inside = sum(BURST.bursting(at_s) for at_s in due if at_s >= 3)
    outside = sum(not BURST.bursting(at_s) for at_s in due if at_s >= 3)
    assert inside / 0.2 / (outside / 0.8) == pytest.approx(6, rel=0.05)
    assert outside / (0.8 * 2000) == pytest.approx(BURST.calm_rate, rel=0.05)


def test_a_period_starts_calm_at_the_end_of_the_warm_up_and_ends_with_its_burst():
    assert [BURST.bursting(at_s) for at_s in (3, 10.9, 11, 12.9, 13, 21.5)] == [False, False, True, True, False, True]
    # The warm-up has the end of the period before.
    assert BURST.bursting(2.5)


def test_a_longer_run_starts_like_a_shorter_one():
    assert times(BURST, end_s=100)[: len(times(BURST, end_s=50))] == times(BURST, end_s=50)


def test_due_times_are_bounded_in_count_and_time():
    assert len(times(Poisson(1e6), max_arrivals=100)) == 100
    assert max(times(BURST, end_s=20)) < 20


def test_the_report_says_which_process_it_was():
    assert str(Poisson(40)) == "Poisson 40/s"
    assert str(BURST) == "bursts, 50/s on average: 25/s, and 6 times that for the last 20% of every 10 s"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"factor": 0.5}, "--burst-factor: expected 1 or more, found 0.5"),
        ({"share": 0}, "--burst-share: expected more than 0 and less than 1, found 0"),
        ({"share": 1}, "--burst-share: expected more than 0 and less than 1, found 1"),
        ({"period_s": 0}, "--burst-period: expected more than 0, found 0"),
    ],
)
def test_an_impossible_burst_is_refused(changes, complaint):
    with pytest.raises(LoadtestError, match=complaint):
        Burst(**{"rate": 1, "factor": 2, "period_s": 1, "share": 0.5, **changes})
