"""How two models' ranking of the same lists is compared."""

import numpy as np
import pytest

from artifact import load_artifact
from export.faithful import encoded_lists
from export.generator import made_up_pairs


@pytest.fixture
def tokenizer(exported):
    return load_artifact(exported).tokenizer


def test_tau_and_loss_are_means_over_queries(tokenizer):
    pairs = made_up_pairs(6)
    lists = encoded_lists(tokenizer, [(pairs[:3], [1.0, 0.5, 0.0]), (pairs[3:], [0.0, 0.0, 1.0])])
    expected = np.array([3.0, 2, 1, 1, 2, 3])
    same = lists.compare(expected, expected * 2)
    assert (same.tau, same.ndcg_loss) == (1, 0)
    assert same.suffices
    found = lists.compare(expected, np.array([3.0, 1, 2, 1, 2, 3]))
    assert found.tau == pytest.approx((1 / 3 + 1) / 2)
    assert found.ndcg_loss == pytest.approx((1 - (1 + 0.5 / np.log2(4)) / (1 + 0.5 / np.log2(3))) / 2)
    assert found.rms == pytest.approx(np.sqrt(2 / 6))
    assert not found.suffices


def test_without_labels_only_the_order_counts(tokenizer):
    pairs = made_up_pairs(4)
    lists = encoded_lists(tokenizer, [(pairs, ())])
    found = lists.compare(np.arange(4.0), np.arange(4.0) + 9)
    assert found.suffices
    assert np.isnan(found.ndcg_loss)
    assert "nDCG" not in str(found)
    assert not lists.compare(np.arange(4.0), -np.arange(4.0)).suffices


def test_lists_that_cannot_be_compared_do_not_pass(tokenizer):
    pairs = made_up_pairs(2)
    found = encoded_lists(tokenizer, [(pairs[:1], ()), (pairs[1:], ())]).compare(np.zeros(2), np.zeros(2))
    assert np.isnan(found.tau)
    assert not found.suffices
