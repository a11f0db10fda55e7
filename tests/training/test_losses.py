"""The losses against their definitions, written with loops: values and gradients."""

import doctest
import importlib
import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses import (
    LOSSES,
    listwise_loss,
    margin_loss,
    pointwise_loss,
    ranknet_loss,
    soft_target_list_loss,
    soft_target_loss,
)
from training.student import pad_lists

logits = st.floats(-20, 20, width=32)
lists = st.lists(st.lists(st.tuples(logits, logits), min_size=1, max_size=6), min_size=1, max_size=4)
WEIGHTS = [0.0, 0.3]
SHIFT_INVARIANT = ["margin", "ranknet", "listwise"]


def padded(rows):
    flat = torch.tensor([pair for row in rows for pair in row], dtype=torch.float64)
    return pad_lists(flat[:, 0], flat[:, 1], [len(row) for row in rows])


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def log1p_exp(x):
    return torch.logaddexp(x, torch.zeros_like(x))


def margin_by_loops(s, t):
    return mean(((s[i] - s[j]) - (t[i] - t[j])) ** 2 for i, j in permutations(range(len(s)), 2))


def margin_of_probabilities_by_loops(s, t):
    return margin_by_loops(s.sigmoid(), t.sigmoid())


def pointwise_by_loops(s, t):
    return mean((si - ti) ** 2 for si, ti in zip(s, t, strict=True))


def cross_entropy(logit, target):
    return target * log1p_exp(-logit) + (1 - target) * log1p_exp(logit)


def ranknet_by_loops(s, t):
    pairs = permutations(range(len(s)), 2)
    return mean(cross_entropy(s[i] - s[j], (t[i] - t[j]).sigmoid()) for i, j in pairs)


def hard_ranknet_by_loops(s, t):
    pairs = permutations(range(len(s)), 2)
    return mean(cross_entropy(s[i] - s[j], 0.5 if t[i] == t[j] else float(t[i] > t[j])) for i, j in pairs)


def listwise_by_loops(s, t, temperature=1.0):
    p, q = [torch.exp(x / temperature) for x in t], [torch.exp(x / temperature) for x in s]
    return sum(pi / sum(p) * torch.log((pi / sum(p)) / (qi / sum(q))) for pi, qi in zip(p, q, strict=True))


def soft_target_by_loops(s, t):
    return mean(cross_entropy(si, ti.sigmoid()) for si, ti in zip(s, t, strict=True))


CASES = {
    "margin": (margin_loss, {}, margin_by_loops, pointwise_by_loops),
    "margin-probability": (
        margin_loss,
        {"probabilities": True},
        margin_of_probabilities_by_loops,
        lambda s, t: pointwise_by_loops(s.sigmoid(), t.sigmoid()),
    ),
    "pointwise": (pointwise_loss, {}, pointwise_by_loops, pointwise_by_loops),
    "pointwise on probabilities": (
        pointwise_loss,
        {"probabilities": True},
        lambda s, t: pointwise_by_loops(s.sigmoid(), t.sigmoid()),
        lambda s, t: pointwise_by_loops(s.sigmoid(), t.sigmoid()),
    ),
    "ranknet": (ranknet_loss, {}, ranknet_by_loops, pointwise_by_loops),
    "ranknet on the order": (ranknet_loss, {"hard": True}, hard_ranknet_by_loops, pointwise_by_loops),
    "listwise": (listwise_loss, {}, listwise_by_loops, pointwise_by_loops),
    "listwise, cool": (
        listwise_loss,
        {"temperature": 0.5},
        lambda s, t: listwise_by_loops(s, t, 0.5),
        pointwise_by_loops,
    ),
    "soft-target": (soft_target_list_loss, {}, soft_target_by_loops, pointwise_by_loops),
}


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("case", CASES)
@given(rows=lists)
def test_a_loss_and_its_gradient_are_those_of_its_definition(case, weight, rows):
    loss, options, definition, anchor = CASES[case]
    s, t, present = padded(rows)
    s.requires_grad_()
    found = loss(s, t, present, weight, **options)
    (found_gradient,) = torch.autograd.grad(found, s)

    parts = [(s[row][present[row]], t[row][present[row]]) for row in range(len(rows))]
    # a list of one product may have nothing to differentiate
    expected = mean(definition(a, b) + weight * anchor(a, b) for a, b in parts) + 0.0 * s.sum()
    (expected_gradient,) = torch.autograd.grad(expected, s)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6, abs=1e-9)
    torch.testing.assert_close(found_gradient, expected_gradient, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_agrees_with_finite_differences(name):
    torch.manual_seed(0)
    s = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    t = torch.randn(3, 4, dtype=torch.float64)
    present = torch.arange(4)[None, :] < torch.tensor([4, 2, 1])[:, None]
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, t, present, 0.2), (s,))


@pytest.mark.parametrize("filling", [7.0, -300.0, math.inf, math.nan])
@pytest.mark.parametrize("name", LOSSES)
def test_what_stands_in_the_padding_does_not_matter(name, filling):
    torch.manual_seed(1)
    rows = [[(1.0, 0.0), (2.0, 5.0), (0.0, 0.5)], [(1.0, 3.0)], [(-1.0, 0.0), (0.5, 2.0)]]
    s, t, present = padded(rows)
    plain = s.clone().requires_grad_()
    filled = s.masked_fill(~present, filling).requires_grad_()
    expected = LOSSES[name](plain, t, present, 0.2)
    found = LOSSES[name](filled, t.masked_fill(~present, filling), present, 0.2)
    expected.backward()
    found.backward()
    assert found.item() == expected.item()
    assert torch.equal(filled.grad, plain.grad)
    assert (filled.grad[~present] == 0).all()
    assert (filled.grad[present] != 0).any()


@pytest.mark.parametrize("name", LOSSES)
@given(lists)
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(name, rows):
    _, t, present = padded(rows)
    s = t.clone().requires_grad_()
    LOSSES[name](s, t, present, 0.5).backward()
    assert s.grad.abs().max().item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", SHIFT_INVARIANT)
@given(lists, st.floats(-10, 10))
def test_a_constant_per_query_is_ignored_but_for_the_anchor(name, rows, shift):
    s, t, present = padded(rows)
    loss, shifted = LOSSES[name](s, t, present), LOSSES[name](s + shift, t, present)
    assert shifted.item() == pytest.approx(loss.item(), rel=1e-6, abs=1e-6)
    anchored = LOSSES[name](t + shift, t, present, 0.5) - LOSSES[name](t, t, present, 0.5)
    assert anchored.item() == pytest.approx(0.5 * shift**2, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_finite_for_very_long_logits_in_single_precision(name):
    s = torch.tensor([[90.0, -90.0, 0.0]], requires_grad=True)
    t = torch.tensor([[-90.0, 90.0, 0.0]])
    loss = LOSSES[name](s, t, torch.ones(1, 3, dtype=torch.bool))
    loss.backward()
    assert loss.isfinite()
    assert s.grad.isfinite().all()


def test_a_student_learns_from_hard_grades_as_infinite_logits():
    s = torch.tensor([[0.0, 0.0]], requires_grad=True)
    loss = soft_target_list_loss(s, torch.tensor([[math.inf, -math.inf]]), torch.ones(1, 2, dtype=torch.bool))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert s.grad.tolist() == [[-0.25, 0.25]]


@given(st.floats(0.01, 0.99))
def test_the_soft_target_loss_is_least_where_the_probability_is_the_target(target):
    best = torch.logit(torch.tensor([target], dtype=torch.float64))
    y = torch.tensor([target], dtype=torch.float64)
    at_best = soft_target_loss(best, y)
    assert at_best <= soft_target_loss(best + 0.1, y)
    assert at_best <= soft_target_loss(best - 0.1, y)


@pytest.mark.parametrize("module", ["listwise", "margin", "pointwise", "ranknet", "soft_target"])
def test_the_examples_in_the_docstrings_are_true(module):
    result = doctest.testmod(
        importlib.import_module(f"training.losses.{module}"), optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert (result.failed, result.attempted > 0) == (0, True)
