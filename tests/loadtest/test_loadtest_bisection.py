"""Where a yes turns into a no, on a grid of rates, and what a yes is."""

import math

from hypothesis import given
from hypothesis import strategies as st

from loadtest.capacity.bisection import Bracket, Grid, find_bracket
from loadtest.capacity.criteria import in_time, objective
from loadtest.capacity.trials import Trial
from loadtest.measure import Objective, Outcome, Sample, summarise, what_broke

P99_MS = 50.0


@given(st.integers(-50, 200), st.integers(-50, 200))
def test_the_bracket_is_found_from_anywhere_without_asking_twice(truth, start):
    asked = []

    def holds(number):
        asked.append(number)
        return number <= truth

    bracket = find_bracket(holds, start, least=-60, most=210)
    assert bracket == Bracket(truth, truth + 1)
    assert len(asked) == len(set(asked)) <= 2 + 2 * math.log2(abs(truth - start) + 16)


@given(st.integers(0, 20))
def test_a_search_stays_within_its_bounds_and_its_tries(start):
    assert find_bracket(lambda _: True, start, least=0, most=20) == Bracket(20, None)
    assert find_bracket(lambda _: False, start, least=0, most=20) == Bracket(None, 0)
    asked = []
    find_bracket(lambda number: asked.append(number) or True, start, least=0, most=1000, tries=3)
    assert len(asked) == 3


@given(st.randoms(use_true_random=False), st.integers(0, 100))
def test_a_search_ends_between_a_yes_and_a_no_whatever_it_is_told(lottery, start):
    told = {}

    def holds(number):
        assert number not in told
        return told.setdefault(number, lottery.random() < 0.5)

    bracket = find_bracket(holds, start, least=0, most=100)
    if bracket.holds is not None and bracket.breaks is not None:
        assert (told[bracket.holds], told[bracket.breaks]) == (True, False)
        assert bracket.breaks == bracket.holds + 1


@given(st.floats(0.06, 4000), st.sampled_from([1.02, 1.04, 1.1]))
def test_the_grid_does_not_depend_on_where_one_looks(rate, ratio):
    grid = Grid(ratio)
    number = grid.below(rate)
    assert grid.rate(number) <= rate * (1 + 1e-6)
    assert grid.rate(number + 1) > rate * (1 - 1e-6)
    assert grid.below(grid.rate(number)) == number


@given(
    st.lists(st.tuples(st.sampled_from(list(Outcome)), st.sampled_from([10.0, 49.0, 51.0, 300.0])), max_size=300),
    st.sampled_from([0.0, 0.01, 0.3]),
)
def test_the_objective_is_the_one_that_slo_judges(answers, max_error_rate):
    samples = [Sample(0.0, 0.0, ms / 1e3, outcome, None) for outcome, ms in answers]
    tallies = objective(P99_MS, max_error_rate)(samples)
    wanted = Objective(P99_MS, max_error_rate, 10.0)
    assert all(tally.held for tally in tallies) == (not what_broke(summarise(samples, wanted), wanted))


def test_in_time_lets_one_request_of_a_short_step_miss():
    good, late = (Sample(0.0, 0.0, ms / 1e3, Outcome.ACCEPTED, 200) for ms in (100, 300))
    for count, missed, held in ((20, 1, True), (20, 2, False), (300, 3, True), (300, 4, False), (1, 1, False)):
        (tally,) = in_time(200, 0.99)([late] * missed + [good] * (count - missed))
        assert tally.held is held


def test_a_trial_without_samples_holds_nothing():
    trial = Trial(1.0, "search", [], objective(P99_MS, 0.01)([]), generator_late=False)
    assert not trial.held
    assert trial.sure
