"""nDCG, reciprocal rank, AUC, calibration error and intervals against brute force and against scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, ndcg_score, roc_auc_score

from training.evaluation.auc import auc, weighted_auc
from training.evaluation.bootstrap import draw_pairs, draw_queries, mean_interval, replicate, weighted_interval
from training.evaluation.calibration import (
    brier,
    calibration_error_draws,
    expected_calibration_error,
    reliability,
)
from training.evaluation.groups import group
from training.evaluation.ranking import ndcg, ndcg_by_query, reciprocal_rank_by_query

rows = st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.sampled_from([0.0, 1.0, 3.0, 7.0]))
tables = st.lists(rows, min_size=1, max_size=24)


def columns(table):
    queries, scores, gains = zip(*table, strict=True)
    return group(queries), np.asarray(scores, float), np.asarray(gains)


@given(tables, st.integers(1, 12))
def test_ndcg_of_every_query_is_that_of_the_library(table, depth):
    groups, scores, gains = columns(table)
    for query, value in enumerate(ndcg_by_query(groups, scores, gains, depth)):
        own = groups.ids == query
        if len(set(gains[own])) > 1:
            assert value == pytest.approx(ndcg_score([gains[own]], [scores[own]], k=depth))
        else:
            assert np.isnan(value)


@given(st.lists(rows, min_size=2, max_size=5).filter(lambda table: len({gain for *_, gain in table}) > 1))
def test_products_tied_in_score_count_as_their_average_over_all_orders(table):
    _, scores, gains = columns(table)
    values = []
    for order in permutations(range(len(table))):
        jitter = np.zeros(len(table))
        jitter[list(order)] = np.arange(len(table)) * 1e-6
        values.append(ndcg(scores + jitter, gains))
    assert ndcg(scores, gains) == pytest.approx(np.mean(values))


def test_ndcg_by_hand():
    expected = (1 + 3 / np.log2(3)) / (3 + 1 / np.log2(3))
    assert ndcg(np.asarray([9.0, 5.0, 1.0]), np.asarray([1.0, 3.0, 0.0])) == pytest.approx(expected)


def test_a_perfect_order_has_ndcg_one_and_only_the_first_ten_count():
    gains = np.asarray([7.0] * 10 + [3.0] * 5)
    assert ndcg(-np.arange(15.0), gains) == pytest.approx(1.0)
    assert ndcg(np.arange(15.0), gains) < 1.0


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6))
def test_reciprocal_rank_averages_over_the_orders_of_tied_products(table):
    scores, relevant = np.asarray([s for s, _ in table], float), np.asarray([r for _, r in table])
    value = reciprocal_rank_by_query(group(["q"] * len(table)), scores, relevant)[0]
    if relevant.all() or not relevant.any():
        assert np.isnan(value)
        return
    found = []
    for order in permutations(range(len(table))):
        ranked = sorted(order, key=lambda i: -scores[i])
        found.append(1 / (1 + next(place for place, i in enumerate(ranked) if relevant[i])))
    assert value == pytest.approx(np.mean(found))


def test_rows_of_one_query_need_not_stand_together():
    groups = group(["b", "a", "b", "a"])
    values = ndcg_by_query(groups, np.asarray([2.0, 1.0, 1.0, 2.0]), np.asarray([7.0, 7.0, 0.0, 0.0]))
    assert groups.names == ("b", "a")
    assert values == pytest.approx([1.0, 1 / np.log2(3)])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_auc_is_the_share_of_pairs_in_the_right_order(positive, negative):
    expected = np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])
    assert auc(np.asarray(positive, float), np.asarray(negative, float)) == pytest.approx(expected)


def test_auc_with_one_side_empty_is_not_a_number():
    assert np.isnan(auc(np.empty(0), np.ones(3)))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=20))
def test_auc_under_weights_is_that_of_the_library(table):
    labels, scores, weights = (np.asarray(column) for column in zip(*table, strict=True))
    value = weighted_auc(labels, scores.astype(float))(weights.astype(float))
    if weights[labels].sum() and weights[~labels].sum():
        assert value == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
    else:
        assert np.isnan(value)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(2, 12))
def test_calibration_error_of_hard_targets_is_the_usual_one(table, bins):
    probabilities, labels = np.asarray([p for p, _ in table]), np.asarray([t for _, t in table], float)
    expected = 0.0
    for b in range(bins):
        inside = [i for i, p in enumerate(probabilities) if min(int(p * bins), bins - 1) == b]
        if inside:
            accuracy = sum(labels[i] for i in inside) / len(inside)
            confidence = sum(probabilities[i] for i in inside) / len(inside)
            expected += len(inside) / len(table) * abs(accuracy - confidence)
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(expected, abs=1e-12)


def test_a_reliability_diagram_is_that_of_the_library():
    random = np.random.default_rng(0)
    probabilities = random.uniform(size=500)
    labels = (random.uniform(size=500) < probabilities**2).astype(float)
    points = reliability(probabilities, labels, bins=10)
    observed, predicted = calibration_curve(labels, probabilities, n_bins=10)
    assert [point.target for point in points] == pytest.approx(observed)
    assert [point.predicted for point in points] == pytest.approx(predicted)
    gap = sum(p.pairs * abs(p.predicted - p.target) for p in points) / 500
    assert expected_calibration_error(probabilities, labels) == pytest.approx(gap)
    assert brier(probabilities, labels) == pytest.approx(brier_score_loss(labels, probabilities))


def test_calibration_error_of_soft_targets_by_hand():
    probabilities, targets = np.asarray([0.42, 0.48, 0.9, 1.0]), np.asarray([0.5, 0.5, 1.0, 0.5])
    assert expected_calibration_error(probabilities, targets) == pytest.approx((0.1 + 0.4) / 4)


def test_a_draw_of_every_query_once_has_the_calibration_error_of_the_whole():
    probabilities, targets = np.asarray([0.2, 0.7, 0.4]), np.asarray([0.0, 1.0, 0.5])
    draws = calibration_error_draws(group(["q", "q", "q"]), probabilities, targets, 10, resamples=5, seed=1)
    assert draws == pytest.approx(expected_calibration_error(probabilities, targets))


def test_draws_keep_the_sides_of_pairs_and_the_rows_of_queries_together():
    random = np.random.default_rng(0)
    labels = np.asarray([True, False, True, True, False])
    weights = draw_pairs(labels)(random)
    assert (weights[labels].sum(), weights[~labels].sum()) == (3, 2)
    weights = draw_queries(group(["a", "b", "a", "b", "c"]))(random)
    assert weights[0] == weights[2]
    assert weights[1] == weights[3]
    assert weights[0] + weights[1] + weights[4] == 3


def test_an_interval_holds_its_value_and_is_the_same_every_time():
    values = np.random.default_rng(1).normal(0.5, 0.2, 200)
    low, high = mean_interval(values, 1000, seed=3)
    assert (low, high) == mean_interval(values, 1000, seed=3) != mean_interval(values, 1000, seed=4)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 0.2 / np.sqrt(200), rel=0.2)


def test_an_interval_of_auc_is_the_same_every_time():
    random = np.random.default_rng(1)
    labels = np.repeat([True, False], [80, 60])
    scores = random.normal(size=140) + labels
    first, again = (
        weighted_interval(replicate(weighted_auc(labels, scores), draw_pairs(labels), 500, seed=7)) for _ in range(2)
    )
    assert first == again
    assert first[0] < auc(scores[labels], scores[~labels]) < first[1]


def test_the_interval_of_one_query_is_its_value():
    assert mean_interval(np.asarray([0.7]), 1000, seed=0) == (0.7, 0.7)
