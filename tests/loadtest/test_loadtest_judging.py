"""What an answer amounts to: only a number for each product, and a word that this is all, is accepted."""

import json

import pytest

from loadtest.judging import judge
from loadtest.measure import Outcome

MODEL = {"name": "m", "version": "v1"}


def answered(scores, complete=True, model=MODEL):
    return json.dumps({"model": model, "scores": scores, "complete": complete}).encode()


@pytest.mark.parametrize("scores", [[0.5, 1], [0, -2.5e-3]])
def test_a_number_for_each_product_is_accepted(scores):
    assert judge(200, answered(scores), 2).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("score", [None, "0.5", True, [0.5], {}, float("nan"), float("inf"), 10**400])
def test_a_complete_answer_with_a_score_that_is_no_number_has_failed(score):
    judged = judge(200, answered([0.5, score]), 2)
    assert (judged.outcome, judged.reason) == (
        Outcome.FAILED,
        "status 200, complete, with a score that is no number",
    )


@pytest.mark.parametrize("scores", [[0.5], [0.5] * 3, 0.5, None, {"0": 0.5, "1": 0.5}])
def test_another_number_of_scores_than_of_products_has_failed(scores):
    assert judge(200, answered(scores), 2).outcome is Outcome.FAILED


def test_a_partial_answer_is_late_whatever_it_lacks():
    assert judge(200, answered([0.5, None], complete=False), 2).outcome is Outcome.LATE


@pytest.mark.parametrize("complete", ["true", "no", 1, None])
def test_only_true_is_complete(complete):
    assert judge(200, answered([0.5, 0.5], complete), 2).outcome is not Outcome.ACCEPTED


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"\xff", b"[" * 100_000, b'{"scores": [1, 1]}', answered([1, 1], model="m")]
)
def test_what_is_no_answer_of_the_contract_has_failed(body):
    judged = judge(200, body, 2)
    assert (judged.outcome, judged.reason) == (Outcome.FAILED, "status 200 without scores")
