"""Sampling of a list's candidates over the quantiles of the teacher's score."""

import doctest
import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.student.sampling import sample_by_quantiles

scores = st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=60).map(lambda row: np.array(row, np.float32))
seeds = st.integers(0, 2**32)


@given(scores, st.integers(1, 70), seeds)
def test_every_bin_of_equal_count_gives_one_candidate(logits, size, seed):
    picked = sample_by_quantiles(logits, size, np.random.default_rng(seed))
    assert len(set(picked.tolist())) == len(picked) == min(size, len(logits))
    ranked = np.sort(logits)
    edges = [len(logits) * i // len(picked) for i in range(len(picked) + 1)]
    for logit, start, end in zip(np.sort(logits[picked]), edges, edges[1:], strict=False):
        assert ranked[start] <= logit <= ranked[end - 1]


@given(scores, st.integers(1, 70), seeds)
def test_the_same_generator_state_gives_the_same_candidates_in_list_order(logits, size, seed):
    first = sample_by_quantiles(logits, size, np.random.default_rng(seed))
    assert first.tolist() == sample_by_quantiles(logits, size, np.random.default_rng(seed)).tolist()
    assert (np.diff(first) > 0).all()


def test_a_list_that_is_not_too_long_is_taken_whole():
    random = np.random.default_rng(0)
    before = random.bit_generator.state
    for count in (0, 1, 5):
        assert sample_by_quantiles(np.zeros(count), 5, random).tolist() == list(range(count))
    assert random.bit_generator.state == before


def test_extreme_scores_do_not_crowd_the_others_out():
    logits = np.concatenate([np.full(90, -9.0), np.linspace(0, 1, 9), [1000.0]])
    picked = logits[sample_by_quantiles(logits, 10, np.random.default_rng(1))]
    assert (picked == -9.0).sum() == 9
    assert (picked >= 0).sum() == 1


@pytest.mark.parametrize("logits", [np.zeros(10), np.arange(10.0)], ids=["tied", "distinct"])
def test_every_candidate_is_drawn_about_equally_often(logits):
    random = np.random.default_rng(2)
    drawn = np.concatenate([sample_by_quantiles(logits, 5, random) for _ in range(2000)])
    assert np.bincount(drawn, minlength=10) == pytest.approx(np.full(10, 1000), rel=0.15)


def test_tied_candidates_are_drawn_in_any_combination():
    random = np.random.default_rng(3)
    seen = {tuple(sample_by_quantiles(np.zeros(4), 2, random).tolist()) for _ in range(300)}
    assert seen == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}


def test_no_candidate_at_all_is_refused():
    with pytest.raises(ValueError, match="at least 1 candidate, got 0"):
        sample_by_quantiles(np.zeros(3), 0, np.random.default_rng(0))


def test_the_example_in_the_docstring_is_true():
    result = doctest.testmod(importlib.import_module("training.student.sampling"))
    assert (result.failed, result.attempted > 0) == (0, True)
