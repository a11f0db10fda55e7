"""The losses against their definitions."""

import doctest
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses import margin, margin_loss, soft_target, soft_target_loss
from training.student import pad_lists

logits = st.floats(-20, 20, width=32)
lists = st.lists(st.lists(st.tuples(logits, logits), min_size=2, max_size=6), min_size=1, max_size=4)


def padded(rows: list[list[tuple[float, float]]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    flat = torch.tensor([pair for row in rows for pair in row], dtype=torch.float64)
    return pad_lists(flat[:, 0], flat[:, 1], [len(row) for row in rows])


@given(lists)
def test_the_margin_loss_is_the_mean_over_all_pairs_of_products(rows):
    expected = 0.0
    for row in rows:
        squares = [((si - sj) - (ti - tj)) ** 2 for (si, ti), (sj, tj) in permutations(row, 2)]
        expected += sum(squares) / len(squares) / len(rows)
    assert margin_loss(*padded(rows)).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(lists, st.floats(-10, 10))
def test_the_margin_loss_ignores_a_constant_per_query_and_the_pointwise_term_does_not(rows, shift):
    s, t, present = padded(rows)
    loss, shifted = margin_loss(s, t, present), margin_loss(s + shift, t, present)
    assert shifted.item() == pytest.approx(loss.item(), rel=1e-6, abs=1e-6)
    pointwise = margin_loss(t + shift, t, present, pointwise_weight=0.5)
    assert pointwise.item() == pytest.approx(0.5 * shift**2, rel=1e-6, abs=1e-6)


def test_padding_gets_no_gradient():
    s, t, present = padded([[(1.0, 0.0), (2.0, 5.0), (0.0, 0.0)], [(1.0, 3.0), (0.0, 1.0)]])
    s.requires_grad_()
    margin_loss(s, t, present, pointwise_weight=1.0).backward()
    assert (s.grad[present] != 0).any()
    assert (s.grad[~present] == 0).all()


@given(st.floats(0.01, 0.99))
def test_the_soft_target_loss_is_least_where_the_probability_is_the_target(target):
    best = torch.logit(torch.tensor([target], dtype=torch.float64))
    y = torch.tensor([target], dtype=torch.float64)
    at_best = soft_target_loss(best, y)
    assert at_best <= soft_target_loss(best + 0.1, y)
    assert at_best <= soft_target_loss(best - 0.1, y)


@pytest.mark.parametrize("module", [margin, soft_target])
def test_the_examples_in_the_docstrings_are_true(module):
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert (result.failed, result.attempted > 0) == (0, True)
