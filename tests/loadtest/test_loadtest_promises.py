"""What the promise commands conclude from what was measured: every verdict from hand-made samples, time included."""

import argparse
from dataclasses import replace

import pytest

from loadtest.errors import Exit
from loadtest.measure import Outcome
from loadtest.promises.mixed import Round, judge_mixed
from loadtest.promises.starting import judge_starts
from loadtest.promises.stopping import Stop, judge_stops
from loadtest.promises.swapping import Swap, SwapRun, failures_in, judge_swaps
from loadtest.promises.verdict import Findings
from loadtest.promises.watch import Histogram, histogram

from .hand_made import broken, sample, shed

MIXED = argparse.Namespace(max_ratio=3.0, max_refused=0.01, max_lag_ms=10.0)


def rounds_of(beside_ms):
    def calls(took_ms):
        return [sample(number / 10, took_ms) for number in range(100)]

    return [Round(calls(4.0), calls(took_ms), calls(600.0)) for took_ms in beside_ms]


def test_small_calls_beside_large_ones_are_judged_by_the_median_round():
    assert judge_mixed(rounds_of([8, 8, 100]), MIXED, [], interrupted=False).exit is Exit.HELD
    slower = judge_mixed(rounds_of([8, 13, 100]), MIXED, [], interrupted=False)
    assert slower.exit is Exit.BROKEN
    assert "3.25 (2.00 to 25.00" in slower.as_text()


def test_small_calls_that_are_turned_away_beside_large_ones_break_the_promise():
    (good,) = rounds_of([8])
    few = replace(good, beside=[*good.beside, shed(3.0)])
    many = replace(good, beside=[*good.beside, shed(3.0), shed(4.0)])
    assert judge_mixed([few], MIXED, [], interrupted=False).exit is Exit.HELD
    assert broken(judge_mixed([many], MIXED, [], interrupted=False)) == ["small calls beside that were not accepted"]


def test_small_calls_that_were_all_refused_answer_nothing():
    refused = [Round([shed(1.0)], [shed(1.0)], [])]
    assert judge_mixed(refused, MIXED, [], interrupted=False).exit is Exit.INVALID


def findings():
    return Findings("lifecycle", [])


def test_the_slowest_start_counts():
    found = findings()
    judge_starts(found, [0.8, 3.1, 0.9], 3.0)
    assert found.exit is Exit.BROKEN
    found = findings()
    judge_starts(found, [0.8, 2.9, 0.9], 3.0)
    assert found.exit is Exit.HELD


STOPPED_WELL = Stop(
    signalled_s=5.0,
    exit_code=0,
    took_s=1.0,
    samples=[
        sample(1.0),
        sample(4.99, 500),
        sample(4.999, 5, Outcome.SHED),
        sample(5.1, 5, Outcome.SHED),
        sample(5.2, 5, Outcome.FAILED, reason="the server closed the connection"),
        sample(5.3, 5, Outcome.FAILED, reason="no connection: ConnectionRefusedError"),
    ],
)


def test_a_stop_may_refuse_and_break_what_was_sent_after_the_signal():
    found = findings()
    judge_stops(found, [STOPPED_WELL], 10.0)
    assert found.exit is Exit.HELD
    assert "0; 2 were in work" in found.as_text()
    assert "503 1, broken 1, refused 1" in found.as_text()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"exit_code": 143}, "SIGTERM under load: exit codes"),
        ({"exit_code": None}, "SIGTERM under load: exit codes"),
        ({"took_s": 10.5}, "SIGTERM under load: slowest end"),
        (
            {"samples": [*STOPPED_WELL.samples, sample(4.9, 200, Outcome.FAILED, reason="reset")]},
            "SIGTERM under load: lost of 4 sent before it",
        ),
    ],
)
def test_a_stop_that_loses_a_request_or_takes_too_long_is_broken(change, what):
    found = findings()
    judge_stops(found, [replace(STOPPED_WELL, **change)], 10.0)
    assert broken(found) == [what]


SWAPPED_WELL = SwapRun(
    swaps=[Swap("b", 1.2, 200.0), Swap("a", 1.1, 201.0)],
    samples=[sample(1.0, model_version="a"), sample(2.0, model_version="b"), shed(3.0)],
    stood=True,
    failures_told=1.0,
)


def test_swaps_under_load_hold():
    found = findings()
    judge_swaps(found, SWAPPED_WELL)
    assert found.exit is Exit.HELD


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"swaps": [Swap("b", 1.2, 200.0), Swap("a", None, 200.0)]}, "swaps seen on /models"),
        ({"stood": False}, "a broken artifact: the loaded one goes on"),
        ({"failures_told": 0.0}, "a broken artifact: shelfscore_model_swaps_total says so"),
        ({"samples": [sample(1.0, model_version="a")]}, "versions that answered"),
        (
            {"samples": [*SWAPPED_WELL.samples, sample(2.5, 5, Outcome.FAILED, reason="mixed")]},
            "swaps under load: failed requests, mixed versions",
        ),
    ],
)
def test_a_swap_that_disturbs_is_broken(change, what):
    found = findings()
    judge_swaps(found, replace(SWAPPED_WELL, **change))
    assert broken(found) == [what]


METRICS = """
# HELP shelfscore_micro_batch_duration_seconds Time of a micro-batch in the model.
shelfscore_micro_batch_duration_seconds_bucket{le="0.01"} 90.0
shelfscore_micro_batch_duration_seconds_bucket{le="0.02"} 99.0
shelfscore_micro_batch_duration_seconds_bucket{le="+Inf"} 100.0
shelfscore_micro_batch_duration_seconds_count 100.0
shelfscore_micro_batch_duration_seconds_sum 1.5
shelfscore_model_swaps_total{model="default",outcome="swapped"} 4.0
shelfscore_model_swaps_total{model="default",outcome="failed"} 2.0
shelfscore_model_swaps_total{model="other",outcome="failed"} 1.0
"""


def test_a_histogram_is_read_from_a_metrics_page_and_from_the_difference_of_two():
    read = histogram(METRICS, "shelfscore_micro_batch_duration_seconds")
    assert (read.bound_s(0.5), read.bound_s(0.99), read.bound_s(1.0)) == (0.01, 0.02, 0.02)
    grown = Histogram({0.01: 95.0, 0.02: 109.0, float("inf"): 110.0}, 2.0, 110.0).since(read)
    assert grown == Histogram({0.01: 5.0, 0.02: 10.0, float("inf"): 10.0}, 0.5, 10.0)
    assert grown.bound_s(1.0) == 0.02
    assert histogram("", "anything").bound_s(0.5) is None


def test_failed_swaps_are_read_from_a_metrics_page():
    assert failures_in(METRICS) == 3.0
    assert failures_in("") == 0.0
