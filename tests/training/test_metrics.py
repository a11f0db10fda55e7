"""nDCG, AUC and their intervals against brute force."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.metrics import auc, auc_between, mean_ndcg, ndcg

scored = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0.0, 1.0, 3.0, 7.0])), min_size=2, max_size=5).filter(
    lambda rows: any(gain for _, gain in rows)
)


@given(scored)
def test_products_tied_in_score_count_as_their_average_over_all_orders(rows):
    scores, gains = (np.asarray(column, dtype=float) for column in zip(*rows, strict=True))
    values = []
    for order in permutations(range(len(rows))):
        jitter = np.zeros(len(rows))
        jitter[list(order)] = np.arange(len(rows)) * 1e-6
        values.append(ndcg(scores + jitter, gains))
    assert ndcg(scores, gains) == pytest.approx(np.mean(values))


def test_a_perfect_order_has_ndcg_one_and_only_the_first_ten_count():
    gains = np.asarray([7.0] * 10 + [3.0] * 5)
    assert ndcg(-np.arange(15.0), gains) == pytest.approx(1.0)
    assert ndcg(np.arange(15.0), gains) < 1.0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_auc_is_the_share_of_pairs_in_the_right_order(positive, negative):
    a, b = np.asarray(positive, float), np.asarray(negative, float)
    expected = np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])
    assert auc(a, b) == pytest.approx(expected)


def test_queries_whose_gains_are_all_alike_are_left_out():
    queries = ["mixed", "mixed", "alike", "alike"]
    estimate = mean_ndcg(queries, np.asarray([2.0, 1.0, 2.0, 1.0]), np.asarray([7.0, 0.0, 3.0, 3.0]), "d", "test")
    assert (estimate.value, estimate.size) == (1.0, 1)


def test_an_interval_holds_its_value_and_is_the_same_every_time():
    random = np.random.default_rng(1)
    above, below = random.normal(1, 1, 80), random.normal(0, 1, 60)
    first, second = (auc_between(above, below, "AUC", "d", "test") for _ in range(2))
    assert first == second
    assert first.low < first.value < first.high
    assert first.size == 140
