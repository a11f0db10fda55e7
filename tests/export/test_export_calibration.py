"""Platt calibration and 8-bit ranges, by their properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import ExportError
from export.calibrate import MIN_PAIRS, fit_platt, score_histogram
from export.quantise import ActivationRange, by_row
from export.ranges import METHODS, Histogram

slopes = st.floats(0.1, 5)
intercepts = st.floats(-2, 2)


@given(slopes, intercepts)
def test_the_fit_recovers_a_known_slope_and_intercept(slope: float, intercept: float) -> None:
    logits = np.linspace(-4, 4, 4001) / slope
    targets = 1 / (1 + np.exp(-(slope * logits + intercept)))
    found = fit_platt(logits, targets, "made-up")
    assert found.slope == pytest.approx(slope, rel=0.01)
    assert found.intercept == pytest.approx(intercept, abs=0.02)


@given(st.integers(0, 1000), slopes, st.floats(-5, 5))
def test_rescaled_logits_get_the_same_scores(seed: int, scale: float, shift: float) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=200)
    targets = np.where(logits + random.normal(size=200) > 0, 1.0, random.choice([0.0, 0.5], 200))
    plain, rescaled = fit_platt(logits, targets, "a"), fit_platt(scale * logits + shift, targets, "b")
    np.testing.assert_allclose(plain.scores(logits), rescaled.scores(scale * logits + shift), atol=1e-4)


@given(st.integers(0, 1000))
def test_scores_rise_with_logits_and_stay_in_the_unit_interval(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits = np.sort(random.normal(size=100) * 3)
    targets = np.clip(np.round(logits + random.normal(size=100)), 0, 2) / 2
    if np.ptp(targets) == 0:
        return
    scores = fit_platt(logits, targets, "made-up").scores(logits)
    assert (np.diff(scores) >= 0).all()
    assert scores.min() >= 0
    assert scores.max() <= 1


def test_separable_targets_give_a_finite_slope() -> None:
    logits = np.linspace(-3, 3, 100)
    assert 1 < fit_platt(logits, (logits > 0).astype(float), "made-up").slope < 1000


@pytest.mark.parametrize(
    ("logits", "targets", "problem"),
    [
        (np.arange(5.0), np.array([0, 1, 0, 1, 1.0]), "too few"),
        (np.arange(40.0), np.ones(40), "every target is 1"),
        (np.ones(40), np.arange(40) % 2.0, "same logit"),
        (np.arange(40.0), np.arange(40.0), "outside 0 to 1"),
        (np.full(40, np.inf), np.arange(40) % 2.0, "not finite"),
        (np.arange(40.0), np.zeros(39), "do not match"),
        (np.arange(40.0), np.arange(40.0)[::-1] / 39, "do not mean more relevant"),
    ],
)
def test_pairs_that_determine_no_calibration_are_refused(logits: np.ndarray, targets: np.ndarray, problem: str) -> None:
    with pytest.raises(ExportError, match=problem):
        fit_platt(logits, targets, "made-up")
    assert MIN_PAIRS == 20


def test_the_histogram_counts_every_score() -> None:
    assert score_histogram(np.array([0.0, 0.04, 0.5, 1.0]), "made-up", bins=4).counts == (2, 0, 1, 1)


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_a_range_holds_zero_exactly_and_both_ends_nearly(a: float, b: float) -> None:
    found = ActivationRange.covering(min(a, b), max(a, b))
    low, high = (float(found.scale) * (end - int(found.zero_point)) for end in (0, 255))
    assert low <= 0 <= high
    assert low <= min(a, b) + float(found.scale)
    assert high >= max(a, b) - float(found.scale)


def test_rows_are_restored_to_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(size=(6, 50)).astype(np.float32)
    integers, scales = by_row(matrix)
    assert (np.abs(integers * scales[:, None] - matrix) <= scales[:, None] * 0.5001).all()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_the_bulk_and_only_squared_error_may_cut_deep(method: str) -> None:
    values = np.append(np.random.default_rng(0).normal(size=100_000), 40.0)
    counts, edges = np.histogram(values, bins=4096)
    found = METHODS[method](Histogram(float(edges[0]), float(edges[-1]), counts))
    high = float(found.scale) * (255 - int(found.zero_point))
    assert 3 < high < 41
    assert (high > 39) == (method == "min-max")
