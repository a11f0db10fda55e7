import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.adaptive_limit import TOLERANCE, AdaptiveLimit
from service.errors import ClientGoneError, DeadlineExceededError
from service.job import Job
from service.metrics import Metrics
from service.overload import LEAST_LIMIT_S, Overload


def after(limit, ratio, requests):
    for _ in range(requests):
        limit.observe(0.050 * ratio, 0.050)
    return limit.limit_s


def test_requests_that_take_what_was_predicted_leave_the_limit_at_its_most():
    assert after(AdaptiveLimit(0.05, 1.0), 1.0, 100) == 1.0


def test_requests_that_take_longer_than_tolerated_bring_it_down_and_others_up_again():
    limit = AdaptiveLimit(0.05, 1.0)
    assert after(limit, 1.5 * TOLERANCE, 60) == pytest.approx(0.05, abs=0.01)
    assert after(limit, 1.0, 200) == 1.0


def test_what_overtaking_may_cost_is_tolerated():
    assert after(AdaptiveLimit(0.05, 1.0), 0.95 * TOLERANCE, 1000) == 1.0


def test_one_stall_moves_it_little():
    limit = AdaptiveLimit(0.05, 1.0)
    after(limit, 1.0, 10)
    limit.observe(60.0, 0.050)
    assert limit.limit_s == 1.0


def test_what_was_not_predicted_teaches_nothing():
    limit = AdaptiveLimit(0.05, 1.0)
    limit.observe(1.0, 0.0)
    assert limit.limit_s == 1.0


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e3)), max_size=200), st.floats(0.001, 10))
def test_it_stays_within_its_bounds(requests, most_s):
    limit = AdaptiveLimit(0.05, most_s)
    for taken_s, predicted_s in requests:
        limit.observe(taken_s, predicted_s)
        assert min(0.05, most_s) <= limit.limit_s <= most_s


@pytest.mark.parametrize(
    ("error", "taken_s", "limit_s"),
    [
        (DeadlineExceededError("late"), 1.0, LEAST_LIMIT_S),
        # It was predicted to take 55 ms: whether it would have been within the tolerance is not known.
        (DeadlineExceededError("late"), 0.1, 1.0),
        (ClientGoneError("left"), 1.0, 1.0),
    ],
)
def test_requests_that_miss_a_distant_deadline_bring_the_limit_down(error, taken_s, limit_s):
    overload = Overload(
        lanes=lambda: 1,
        micro_batch_s=lambda: 0.005,
        max_backlog_s=1.0,
        metrics=Metrics(),
        random_source=random.Random(0),
    )
    for _ in range(100):
        job = Job(
            "q",
            [{}],
            deadline=taken_s,
            partial=False,
            request_id="r",
            submitted=0.0,
            on_finish=lambda: overload.backlog.leave(job, taken_s),  # noqa: B023
        )
        job.expect(0.05)
        overload.backlog.enter(job, 0.0)
        job.end(error)
    assert overload.limit.limit_s == pytest.approx(limit_s)
