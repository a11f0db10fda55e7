from hypothesis import given
from hypothesis import strategies as st

from service.planner import plan

LENGTHS = st.lists(st.integers(1, 128), max_size=300)
BUDGETS = st.integers(1, 2000)
LANES = st.integers(1, 8)


@given(LENGTHS, BUDGETS, LANES)
def test_every_pair_is_in_exactly_one_micro_batch(lengths, budget, lanes):
    batches = plan(lengths, budget, lanes=lanes)
    assert sorted(i for batch in batches for i in batch.indices) == list(range(len(lengths)))


@given(LENGTHS, BUDGETS, LANES)
def test_a_micro_batch_keeps_the_budget_or_is_one_pair_that_cannot(lengths, budget, lanes):
    for batch in plan(lengths, budget, lanes=lanes):
        assert batch.longest == max(lengths[i] for i in batch.indices)
        assert batch.tokens == sum(lengths[i] for i in batch.indices)
        assert batch.padded_tokens == batch.longest * len(batch.indices)
        assert batch.padded_tokens <= budget or len(batch.indices) == 1


@given(LENGTHS, BUDGETS, LANES)
def test_the_longest_run_first_and_like_lengths_together(lengths, budget, lanes):
    batches = plan(lengths, budget, lanes=lanes)
    in_order = [lengths[i] for batch in batches for i in batch.indices]
    assert in_order == sorted(lengths, reverse=True)


@given(st.integers(1, 64), st.integers(2, 200), st.integers(1, 8))
def test_equal_pairs_are_shared_out_evenly_among_lanes(length, pairs, lanes):
    batches = plan([length] * pairs, budget_tokens=10_000_000, lanes=lanes)
    sizes = [len(batch.indices) for batch in batches]
    assert max(sizes) <= -(-pairs // lanes) + 1


def test_sorting_by_length_wastes_little():
    lengths = [16 + (i * 37) % 49 for i in range(64)]
    batches = plan(lengths, 256, lanes=2)
    assert sum(batch.padded_tokens for batch in batches) < 1.1 * sum(lengths)


def test_nothing_makes_no_micro_batches():
    assert plan([], 256, lanes=2) == []
