import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.answer_lag import MOST_S, AnswerLag
from service.pace import LEAST, MOST, Pace


@pytest.mark.parametrize(("taken", "ratio"), [(1.0, 1.0), (2.0, 0.5), (0.9, 1 / 0.9), (100.0, LEAST), (0.1, MOST)])
def test_the_pace_is_predicted_work_by_the_time_it_took_within_bounds(taken, ratio):
    pace = Pace()
    for _ in range(2000):
        pace.observe(0.005, 0.005 * taken)
    assert pace.ratio == pytest.approx(ratio, rel=0.01)


def test_the_pace_begins_with_predictions_being_right_and_one_pause_moves_it_little():
    pace = Pace()
    assert pace.ratio == 1.0
    pace.observe(0.005, 10.0)
    assert pace.ratio > 0.9


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)), max_size=100))
def test_the_pace_stays_within_its_bounds_whatever_is_measured(measurements):
    pace = Pace()
    for predicted_s, taken_s in measurements:
        pace.observe(predicted_s, taken_s)
        assert LEAST <= pace.ratio <= MOST


def test_the_answer_lag_leaves_room_for_most_answers():
    lag = AnswerLag()
    assert lag.seconds == 0.0
    for i in range(1000):
        lag.observe(0.001 if i % 2 else 0.003)
    assert lag.seconds == pytest.approx(0.005, abs=0.001)


def test_one_absurd_lag_is_forgotten():
    lag = AnswerLag()
    lag.observe(60.0)
    assert lag.seconds <= MOST_S
    for _ in range(200):
        lag.observe(0.001)
    assert lag.seconds < 0.002
