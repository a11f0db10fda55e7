import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifact import LatencyPoint
from service.cost import LENGTH_CLASSES, OUTLIER, RATIO_WINDOW_S, CostModel, Line, StageCost, length_class, line_through

TABLE = [
    LatencyPoint(pairs=pairs, tokens=tokens, seconds=0.0002 + pairs * tokens * 20e-6 + pairs * tokens**2 * 1e-7)
    for tokens in (16, 32, 64, 128)
    for pairs in (1, 2, 4, 8, 16)
]


def truth_s(pairs, tokens, slowness=1.0):
    return slowness * (0.0002 + pairs * tokens * 20e-6 + pairs * tokens**2 * 1e-7)


@pytest.mark.parametrize("tokens", [16, 32, 64, 128])
@pytest.mark.parametrize("pairs", [1, 3, 8])
def test_predictions_start_from_the_artifacts_latency_table(tokens, pairs):
    assert CostModel(TABLE).pairs_s(pairs, tokens) == pytest.approx(truth_s(pairs, tokens), rel=0.02)


def test_without_a_table_predictions_are_learned_from_the_first_work_on():
    cost = CostModel()
    assert cost.pairs_s(8, 32) > 0
    for _ in range(200):
        for pairs in (2, 4, 8):
            cost.observe_pairs(truth_s(pairs, 32), pairs, 32)
    assert cost.pairs_s(4, 32) == pytest.approx(truth_s(4, 32), rel=0.1)
    assert cost.pairs_s(8, 32) == pytest.approx(truth_s(8, 32), rel=0.1)


@pytest.mark.parametrize("slowness", [10.0, 0.1])
def test_a_machine_that_changes_is_followed_within_a_second_of_work_for_shapes_not_seen_meanwhile_too(slowness):
    cost = CostModel(TABLE)
    for _ in range(50):
        cost.observe_pairs(truth_s(8, 32), 8, 32)
    spent_s = 0.0
    while spent_s < 4 * RATIO_WINDOW_S:
        seconds = truth_s(8, 32, slowness)
        cost.observe_pairs(seconds, 8, 32)
        spent_s += seconds
    assert cost.pairs_s(8, 32) == pytest.approx(truth_s(8, 32, slowness), rel=0.15)
    assert cost.pairs_s(2, 128) == pytest.approx(truth_s(2, 128, slowness), rel=0.3)


def test_one_outlier_moves_a_prediction_by_less_than_a_half_and_is_forgotten():
    cost = CostModel(TABLE)
    for _ in range(100):
        cost.observe_pairs(truth_s(8, 32), 8, 32)
    cost.observe_pairs(30.0, 8, 32)
    assert cost.pairs_s(8, 32) < 1.5 * truth_s(8, 32)
    for _ in range(100):
        cost.observe_pairs(truth_s(8, 32), 8, 32)
    assert cost.pairs_s(8, 32) == pytest.approx(truth_s(8, 32), rel=0.05)


def test_measurements_of_one_size_alone_do_not_tilt_the_line():
    cost = CostModel(TABLE)
    for _ in range(2000):
        cost.observe_pairs(truth_s(8, 32, 3.0), 8, 32)
    assert cost.pairs_s(1, 32) == pytest.approx(truth_s(1, 32, 3.0), rel=0.15)


def test_a_line_that_the_table_has_wrong_is_learned_from_work_of_several_sizes():
    cost = CostModel(TABLE)
    for _ in range(2000):
        for pairs in (1, 8):
            cost.observe_pairs(0.004, pairs, 32)
    assert cost.pairs_s(1, 32) == pytest.approx(0.004, rel=0.1)
    assert cost.pairs_s(8, 32) == pytest.approx(0.004, rel=0.1)


@given(st.lists(st.tuples(st.integers(1, 64), st.integers(1, 512), st.floats(0, 1e6)), max_size=60))
def test_no_measurement_makes_a_prediction_less_than_nothing_or_no_number(measurements):
    cost = CostModel(TABLE)
    for pairs, tokens, seconds in measurements:
        cost.observe_pairs(seconds, pairs, tokens)
        cost.observe_prepare(seconds, pairs)
    for pairs, tokens in ((1, 1), (16, 16), (1, 512)):
        assert 0 < cost.pairs_s(pairs, tokens) < math.inf
    assert 0 < cost.request_s(100, 30.0, 32) < math.inf


def test_a_request_is_predicted_by_the_guess_of_its_pairs_lengths_which_is_corrected_by_what_they_were():
    cost = CostModel(TABLE, budget_tokens=256)
    by_guess_s = cost.pairs_of_request_s(64, 32.0)
    assert by_guess_s == pytest.approx(8 * truth_s(8, 32), rel=0.05)
    for _ in range(200):
        cost.observe_tokens(64 * 64, 64, 32.0)
    assert cost.pairs_of_request_s(64, 32.0) == pytest.approx(16 * truth_s(4, 64), rel=0.05)


def test_preparing_is_predicted_by_products():
    cost = CostModel(TABLE)
    for _ in range(500):
        cost.observe_prepare(0.0001 + 1 * 0.00005, 1)
        cost.observe_prepare(0.0001 + 32 * 0.00005, 32)
    assert cost.prepare_s(32) == pytest.approx(0.0017, rel=0.1)
    assert cost.request_s(64, 32.0, 32) == pytest.approx(cost.pairs_of_request_s(64, 32.0) + 2 * cost.prepare_s(32))


def test_a_line_goes_through_what_lies_on_one():
    assert line_through([(1.0, 3.0, 1.0), (2.0, 5.0, 1.0), (4.0, 9.0, 0.5)]) == Line(pytest.approx(1), pytest.approx(2))
    assert line_through([(2.0, 6.0, 1.0)]) == Line(0.0, 3.0)
    assert line_through([]) == Line(0.0, 0.0)


def test_a_line_never_falls_with_the_size():
    line = line_through([(1.0, 5.0, 1.0), (2.0, 3.0, 1.0)])
    assert (line.slope_s, line.intercept_s) == (0.0, 4.0)


def test_an_outlier_at_the_very_first_is_bounded_too():
    stage = StageCost([Line(0.0, 0.001)], (1.0, 10.0))
    stage.observe(5.0, 10.0)
    assert stage.predict_s(10.0) <= 0.010 * OUTLIER * 1.5


def test_every_length_has_a_class():
    assert [length_class(tokens) for tokens in (1, 16, 17, 384, 385, 10_000)] == [0, 0, 1, 9, 10, 10]
    assert len(LENGTH_CLASSES) == 10


def test_the_longest_unit_of_a_split_model_may_be_one_of_encoding():
    fast = [LatencyPoint(pairs=8, tokens=32, seconds=0.001)]
    slow = [LatencyPoint(pairs=8, tokens=32, seconds=0.008)]
    cost = CostModel(fast, 1024, slow, 256)
    assert cost.unit_s == cost.encode_s(8, 32)
    assert cost.unit_s > cost.micro_batch_s
    assert CostModel(slow, 1024, fast, 256).unit_s == pytest.approx(CostModel(slow, 1024, fast, 256).micro_batch_s)
    assert CostModel(slow).unit_s == CostModel(slow).micro_batch_s
