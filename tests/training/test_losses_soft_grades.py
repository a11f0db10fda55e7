"""The loss of a head with one output per grade, against its plain definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.losses.soft_grades import expected_gain, gain_logit, grade_shares, soft_grades_loss

LEVELS = (0.0, 0.3, 0.5, 1.0)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8))
def test_shares_sum_to_one_and_their_mean_level_is_the_target(wanted):
    targets = torch.tensor(wanted)
    shares = grade_shares(targets, LEVELS)
    assert (shares >= 0).all()
    torch.testing.assert_close(shares.sum(1), torch.ones(len(wanted)))
    torch.testing.assert_close(shares @ torch.tensor(LEVELS), targets)
    assert ((shares > 0).sum(1) <= 2).all()


def test_a_target_on_a_level_is_that_grade_alone():
    assert torch.equal(grade_shares(torch.tensor(LEVELS), LEVELS), torch.eye(4))


def test_value_and_gradient_are_those_of_the_plain_definition():
    torch.manual_seed(0)
    outputs = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(6, dtype=torch.float64)
    loss = soft_grades_loss(outputs, targets, LEVELS)
    loss.backward()
    shares = grade_shares(targets, LEVELS)
    plain = torch.tensor(0.0, dtype=torch.float64)
    for row, q in zip(outputs, shares, strict=True):
        plain = plain - sum(q[k] * torch.log(row[k].exp() / row.exp().sum()) for k in range(4)) / 6
    assert loss.item() == pytest.approx(plain.item())
    torch.testing.assert_close(outputs.grad, (torch.softmax(outputs.detach(), 1) - shares) / 6)


def test_the_gain_logit_is_that_of_the_expected_level():
    torch.manual_seed(1)
    outputs = torch.randn(50, 4, dtype=torch.float64) * 3
    gain = torch.softmax(outputs, 1) @ torch.tensor(LEVELS, dtype=torch.float64)
    torch.testing.assert_close(expected_gain(outputs, LEVELS), gain)
    torch.testing.assert_close(gain_logit(outputs, LEVELS), torch.logit(gain))


def test_certain_outputs_give_a_finite_logit_and_gradient():
    outputs = torch.tensor([[500.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 500.0]], requires_grad=True)
    logits = gain_logit(outputs, LEVELS)
    logits.sum().backward()
    assert logits.tolist() == [-15.0, 15.0]
    assert torch.isfinite(outputs.grad).all()
