"""Distributions that are counted request by request, and what their inputs are worth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from artifact.distribution import Distribution, distribution_of, no_sums, request_sums

EDGES = (0.25, 0.5, 0.75)


def counted(requests, edges=EDGES):
    return distribution_of(sum((request_sums(each, edges) for each in requests), no_sums(edges)), edges)


def shares_of(requests, edges):
    """The share of each bin among all inputs."""
    found = np.searchsorted(edges, np.concatenate(requests), side="right")
    return np.bincount(found, minlength=len(edges) + 1) / len(found)


def test_an_input_on_an_edge_belongs_to_the_bin_above_it():
    assert counted([[0.0, 0.25, 0.3], [0.5, 1.0]]).counts == (1, 2, 1, 1)


def test_a_request_without_inputs_adds_nothing():
    assert not request_sums([], EDGES).any()
    assert counted([[]]) is None
    assert counted([[], [0.1]]) == counted([[0.1]])


@given(st.lists(st.lists(st.floats(-1, 2), max_size=8), min_size=1, max_size=8))
def test_every_input_is_counted_once_and_worth_one_at_most(requests):
    found = counted(requests)
    inputs = sum(map(len, requests))
    if not inputs:
        assert found is None
        return
    assert found.inputs == inputs
    assert 0 < found.worth <= inputs


def test_inputs_that_come_one_by_one_are_worth_as_many():
    values = np.random.default_rng(0).random(2000)
    assert counted([[value] for value in values]).worth == pytest.approx(2000, rel=0.01)


def test_inputs_of_a_request_that_are_all_alike_are_worth_one_together():
    values = np.random.default_rng(1).random(2000)
    assert counted([[value] * 30 for value in values]).worth == pytest.approx(2000, rel=0.01)


def test_requests_of_any_length_whose_inputs_do_not_resemble_each_other_are_worth_their_inputs():
    random = np.random.default_rng(2)
    requests = [random.random(random.integers(1, 100)) for _ in range(2000)]
    assert counted(requests).worth == pytest.approx(sum(map(len, requests)), rel=0.1)


def test_the_worth_tells_how_much_the_shares_vary_from_sample_to_sample():
    """Against the variance over 400 repetitions of the whole sampling, which needs no formula."""
    edges = tuple(i / 10 for i in range(1, 10))

    def sample(seed):
        random = np.random.default_rng(seed)
        means = random.beta(2, 2, size=150)
        return [np.clip(random.normal(mean, 0.15, size=random.integers(5, 60)), 0, 1) for mean in means]

    samples = [sample(seed) for seed in range(400)]
    shares = np.array([shares_of(each, edges) for each in samples])
    p = shares.mean(axis=0)
    truth = (len(p) - 1) / (shares.var(axis=0) / p).sum()
    worths = [counted(each, edges).worth for each in samples]
    assert np.mean(worths) == pytest.approx(truth, rel=0.1)
    inputs = np.mean([sum(map(len, each)) for each in samples])
    assert truth < inputs / 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"edges": (1.0, 1.0), "counts": (1, 1, 1)},
        {"edges": (2.0, 1.0), "counts": (1, 1, 1)},
        {"edges": (1.0,), "counts": (1, 1, 1)},
        {"edges": (1.0,), "counts": (0, 0)},
        {"edges": (1.0,), "counts": (-1, 2)},
        {"edges": (float("nan"),), "counts": (1, 1)},
        {"edges": (1.0,), "counts": (1, 1), "independent_inputs": 0},
    ],
)
def test_what_is_no_distribution_is_refused(wrong):
    with pytest.raises(ValidationError):
        Distribution(**wrong)
