import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.planner import plan, plan_fewest, plan_in_order

LENGTHS = st.lists(st.integers(1, 128), max_size=300)
BUDGETS = st.integers(1, 2000)
LANES = st.integers(1, 8)


def planned_in_order(lengths, budget, _):
    return plan_in_order(lengths, budget)


def planned_fewest(lengths, budget, lanes):
    return plan_fewest(lengths, budget, lanes=lanes)


@pytest.mark.parametrize("make", [planned_fewest, planned_in_order])
@given(lengths=LENGTHS, budget=BUDGETS, lanes=LANES)
def test_every_pair_is_in_one_micro_batch_that_keeps_the_budget_or_is_one_pair_that_cannot(
    make, lengths, budget, lanes
):
    batches = make(lengths, budget, lanes)
    assert sorted(i for batch in batches for i in batch.indices) == list(range(len(lengths)))
    for batch in batches:
        assert batch.longest == max(lengths[i] for i in batch.indices)
        assert batch.tokens == sum(lengths[i] for i in batch.indices)
        assert batch.padded_tokens <= budget or len(batch.indices) == 1


@given(LENGTHS, BUDGETS)
def test_in_order_neighbours_stay_together(lengths, budget):
    start = 0
    for batch in plan_in_order(lengths, budget):
        assert sorted(batch.indices) == list(range(start, start + len(batch.indices)))
        start += len(batch.indices)


@given(LENGTHS, BUDGETS, LANES)
def test_the_longest_run_first_and_like_lengths_together(lengths, budget, lanes):
    batches = plan_fewest(lengths, budget, lanes=lanes)
    in_order = [lengths[i] for batch in batches for i in batch.indices]
    assert in_order == sorted(lengths, reverse=True)


@given(st.lists(st.integers(14, 30), min_size=30, max_size=120), st.integers(1, 4))
def test_what_fits_becomes_one_micro_batch_a_lane_and_they_are_even(lengths, lanes):
    batches = plan_fewest(lengths, 10_000, lanes=lanes)
    assert len(batches) <= lanes
    largest = max(batch.padded_tokens for batch in batches)
    by_one_pair = max(lengths)
    assert largest <= (sum(batch.padded_tokens for batch in batches)) / lanes + lanes * by_one_pair


def test_there_is_no_small_rest_where_the_other_plan_leaves_one():
    lengths = [14 + i % 17 for i in range(64)]
    assert [len(batch.indices) for batch in plan(lengths, 1024, lanes=2)] == [23, 29, 12]
    assert [batch.padded_tokens for batch in plan_fewest(lengths, 1024, lanes=2)] == [840, 792]


@pytest.mark.parametrize(("pairs", "batches"), [(1, 1), (25, 1), (26, 2), (100, 2), (103, 4)])
def test_little_work_is_not_cut_and_much_is_cut_for_all_lanes(pairs, batches):
    assert len(plan_fewest([20] * pairs, 1024, lanes=2, least_tokens=256)) == batches
