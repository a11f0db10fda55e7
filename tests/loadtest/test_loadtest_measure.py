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


def sample(latency_ms=20.0, lag_ms=0.5, outcome=Outcome.ACCEPTED, status=200, reason=None, due_s=1.0, **more):
    return Sample(due_s, due_s + lag_ms / 1e3, due_s + latency_ms / 1e3, outcome, status, reason, **more)


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


@pytest.mark.parametrize("share", [0.01, 0.07, 0.29, 0.57])
def test_a_budget_that_is_used_up_to_the_last_request_holds(share):
    objective = Objective(50, share, 10, max_shed_rate=share)
    spent = [sample(outcome=Outcome.SHED, status=503)] * round(share * 100)
    summary = summarise([*spent, *[sample()] * (100 - len(spent))], objective)
    assert what_broke(summary, objective) == []
    one_more = summarise([*spent, spent[0], *[sample()] * (99 - len(spent))], objective)
    assert [problem.split()[0] for problem in what_broke(one_more, objective)] == ["error", "shed"]


def test_no_accepted_request_breaks_the_objective():
    summary = summarise([sample(outcome=Outcome.SHED, status=503)], Objective(50, 1, 10))
    assert what_broke(summary, Objective(50, 1, 10)) == ["no request was accepted"]


def test_a_generator_that_lags_makes_the_run_invalid():
    summary = summarise([*[sample()] * 95, *[sample(lag_ms=31)] * 5], OBJECTIVE)
    assert "could not keep its schedule" in why_invalid(summary, OBJECTIVE)[0]


def test_a_run_without_requests_is_invalid():
    assert "no request was counted" in why_invalid(summarise([], OBJECTIVE), OBJECTIVE)[0]


def test_each_outcome_has_latencies_of_its_own():
    samples = [
        *[sample(latency_ms=20)] * 3,
        sample(latency_ms=1, outcome=Outcome.SHED, status=503),
        *[sample(latency_ms=200, outcome=Outcome.LATE, status=504)] * 2,
    ]
    found = summarise(samples, OBJECTIVE).by_outcome_ms
    assert found[Outcome.ACCEPTED].max == pytest.approx(20)
    assert found[Outcome.SHED].p50 == pytest.approx(1)
    assert found[Outcome.LATE].p99 == pytest.approx(200)
    assert found[Outcome.FAILED] is None


def test_latency_may_be_left_unjudged_and_its_median_judged():
    samples = [*[sample(latency_ms=30)] * 99, sample(latency_ms=900)]
    for objective, broken in (
        (Objective(None, 0, 10), []),
        (Objective(None, 0, 10, p50_ms=29), ["p50 30.00 ms, objective 29 ms"]),
        (Objective(40, 0, 10, p50_ms=31), []),
        (Objective(20, 0, 10, p50_ms=10), ["p50 30.00 ms, objective 10 ms", "p99 30.00 ms, objective 20 ms"]),
    ):
        assert what_broke(summarise(samples, objective), objective) == broken


def test_shed_late_and_failed_have_budgets_of_their_own():
    samples = [
        *[sample()] * 90,
        *[sample(outcome=Outcome.SHED, status=503)] * 7,
        *[sample(outcome=Outcome.LATE, status=504)] * 2,
        sample(outcome=Outcome.FAILED, status=500),
    ]
    within = Objective(50, 0.1, 10, max_shed_rate=0.07, max_late_rate=0.02, max_failed_rate=0.01)
    assert what_broke(summarise(samples, within), within) == []
    beyond = Objective(50, 0.1, 10, max_shed_rate=0.06, max_late_rate=0.01, max_failed_rate=0)
    assert what_broke(summarise(samples, beyond), beyond) == [
        "shed 7 of 100, objective 0.06 of all",
        "late 2 of 100, objective 0.01 of all",
        "failed 1 of 100, objective 0 of all",
    ]


def test_an_answer_past_its_deadline_is_broken_whatever_it_says():
    objective = Objective(None, 1, 10, deadline_slack_ms=25)
    on_time = [sample(latency_ms=124, lag_ms=0, deadline_ms=100), sample(latency_ms=900)]
    past = [
        sample(latency_ms=126, lag_ms=0, deadline_ms=100),
        sample(latency_ms=40, lag_ms=0, outcome=Outcome.LATE, status=504, deadline_ms=10),
        sample(latency_ms=40, lag_ms=0, outcome=Outcome.SHED, status=503, deadline_ms=0),
    ]
    unanswered = sample(latency_ms=9000, outcome=Outcome.FAILED, status=None, deadline_ms=100)
    assert what_broke(summarise([*on_time, unanswered], objective), objective) == []
    summary = summarise([*on_time, unanswered, *past], objective)
    assert summary.past_deadline == 3
    assert what_broke(summary, objective) == [
        "answers past their deadline: 3 (allowed 25 ms beyond it, and 0 of all later)"
    ]
    lenient = Objective(None, 1, 10, deadline_slack_ms=25, max_past_deadline=0.5)
    assert what_broke(summarise([*on_time, unanswered, *past], lenient), lenient) == []


def test_a_deadline_counts_from_sending_not_from_the_generators_lag():
    late_sender = sample(latency_ms=150, lag_ms=100, deadline_ms=60)
    assert summarise([late_sender], Objective(None, 1, 200, deadline_slack_ms=0)).past_deadline == 0


def test_goodput_counts_the_products_of_complete_answers_in_time():
    samples = [
        sample(latency_ms=49, products=64),
        sample(latency_ms=51, products=64),
        sample(latency_ms=150, products=10, deadline_ms=200),
        sample(latency_ms=40, products=10, deadline_ms=30),
        sample(latency_ms=10, outcome=Outcome.LATE, products=500),
    ]
    assert summarise(samples, OBJECTIVE).goodput is None
    goodput = summarise(samples, OBJECTIVE, counted_s=2.0).goodput
    assert (goodput.requests_per_s, goodput.products_per_s) == (1.0, 37.0)
    unjudged = summarise(samples, Objective(None, 1, 10), counted_s=2.0).goodput
    assert unjudged.products_per_s == 69.0


def test_the_servers_own_time_stands_beside_what_the_client_saw():
    stages = (("queue", 2.0), ("inference", 10.0), ("total", 15.0))
    samples = [
        *[sample(latency_ms=21, lag_ms=1, server_ms=15.0, stages_ms=stages)] * 3,
        sample(latency_ms=400),
        sample(latency_ms=5, outcome=Outcome.SHED, status=503, server_ms=0.1, stages_ms=(("total", 0.1),)),
    ]
    server = summarise(samples, OBJECTIVE).server
    assert server.requests == 3
    assert server.total_ms.p99 == 15
    assert server.outside_ms.p50 == pytest.approx(5)
    assert {stage: values.max for stage, values in server.stages_ms.items()} == {"queue": 2, "inference": 10}
    assert summarise([sample()], OBJECTIVE).server is None


def test_what_was_not_sent_has_no_lag():
    samples = [sample(lag_ms=2), sample(lag_ms=900, outcome=Outcome.FAILED, status=None, sent=False)]
    summary = summarise(samples, OBJECTIVE)
    assert summary.sent == 1
    assert summary.lag_ms.max == pytest.approx(2)
    assert why_invalid(summarise(samples[1:], OBJECTIVE), OBJECTIVE) == ["no request was sent"]
