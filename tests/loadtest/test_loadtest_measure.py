"""Percentiles are exact, latency counts from the schedule, and the verdict says what broke."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.measure import (
    Objective,
    Outcome,
    Sample,
    distribution,
    percentile,
    summarise,
    what_broke,
    why_invalid,
)

OBJECTIVE = Objective(p99_ms=50, max_error_rate=0.01, max_lag_ms=10)


def sample(latency_ms=20.0, lag_ms=0.5, outcome=Outcome.ACCEPTED, status=200, reason=None, due_s=1.0):
    return Sample(due_s, due_s + lag_ms / 1e3, due_s + latency_ms / 1e3, outcome, status, reason)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_the_smallest_value_that_covers_its_share(values, q):
    found = percentile(values, q)
    assert found in values
    assert sum(value <= found for value in values) >= q * len(values) - 1e-9
    below = [value for value in values if value < found]
    assert not below or len(below) < math.ceil(q * len(values))


def test_percentiles_are_not_rounded():
    assert distribution([21.123456789] * 99 + [1234.56789]).p99 == 21.123456789
    assert distribution([21.123456789] * 99 + [1234.56789]).max == 1234.56789


def test_a_percentile_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.99)


def test_latency_counts_from_the_scheduled_time():
    late = Sample(due_s=1.0, sent_s=1.4, done_s=1.5, outcome=Outcome.ACCEPTED, status=200)
    assert late.latency_ms == pytest.approx(500)
    assert late.lag_ms == pytest.approx(400)


def test_outcomes_are_counted_apart():
    samples = [
        *[sample()] * 6,
        sample(outcome=Outcome.SHED, status=503),
        sample(outcome=Outcome.LATE, status=504),
        sample(outcome=Outcome.FAILED, status=500, reason="status 500"),
        sample(outcome=Outcome.FAILED, status=None, reason="ConnectionResetError"),
    ]
    summary = summarise(samples, OBJECTIVE)
    assert summary.outcomes == {Outcome.ACCEPTED: 6, Outcome.SHED: 1, Outcome.LATE: 1, Outcome.FAILED: 2}
    assert summary.statuses == {"200": 6, "503": 1, "504": 1, "500": 1, "none": 1}
    assert summary.reasons == {"status 500": 1, "ConnectionResetError": 1}
    assert summary.error_rate == pytest.approx(0.4)


def test_fast_refusals_do_not_improve_the_latency():
    summary = summarise(
        [sample(latency_ms=80), *[sample(latency_ms=1, outcome=Outcome.SHED, status=503)] * 99], OBJECTIVE
    )
    assert summary.latency_ms.p50 == pytest.approx(80)
    assert summary.within_objective == 0


def test_an_objective_that_holds_breaks_nothing():
    summary = summarise([sample()] * 100, OBJECTIVE)
    assert what_broke(summary, OBJECTIVE) == []
    assert why_invalid(summary, OBJECTIVE) == []


def test_what_broke_is_said():
    summary = summarise([*[sample(latency_ms=61.5)] * 97, *[sample(outcome=Outcome.SHED, status=503)] * 3], OBJECTIVE)
    assert what_broke(summary, OBJECTIVE) == [
        "p99 61.50 ms, objective 50 ms",
        "error rate 0.0300, objective 0.01",
    ]


def test_no_accepted_request_breaks_the_objective():
    summary = summarise([sample(outcome=Outcome.SHED, status=503)], Objective(50, 1, 10))
    assert what_broke(summary, Objective(50, 1, 10)) == ["no request was accepted"]


def test_a_generator_that_lags_makes_the_run_invalid():
    summary = summarise([*[sample()] * 95, *[sample(lag_ms=31)] * 5], OBJECTIVE)
    assert "could not keep its schedule" in why_invalid(summary, OBJECTIVE)[0]


def test_a_run_without_requests_is_invalid():
    assert "no request was counted" in why_invalid(summarise([], OBJECTIVE), OBJECTIVE)[0]
