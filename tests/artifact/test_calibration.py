"""From logits to scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from artifact import Calibration

calibrations = st.builds(Calibration, slope=st.floats(0.01, 100), intercept=st.floats(-50, 50))


@given(calibrations, st.lists(st.floats(-1e6, 1e6), min_size=2))
def test_scores_are_probabilities_in_the_order_of_the_logits(calibration, logits):
    ordered = np.sort(np.asarray(logits))
    scores = calibration.scores(ordered)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) >= 0).all()


def test_the_identity_is_the_sigmoid():
    assert Calibration().scores(np.asarray([0.0, 2.653])) == pytest.approx([0.5, 0.9342], abs=1e-4)


def test_a_logit_that_is_not_finite_has_no_score():
    assert np.isnan(Calibration().scores(np.asarray([np.nan, np.inf, -np.inf]))).all()


@pytest.mark.parametrize("slope", [0.0, -1.0, float("inf"), float("nan")])
def test_a_slope_that_could_change_a_ranking_is_refused(slope):
    with pytest.raises(ValidationError):
        Calibration(slope=slope)
