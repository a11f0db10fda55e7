"""Windows slide, and stay small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.drift.window import PARTS, SlidingWindow

EDGES = {"score": (0.5,), "query_tokens": (2.0, 4.0)}
WINDOW_S = 1200.0
PART_S = WINDOW_S / PARTS


def window():
    return SlidingWindow(EDGES, WINDOW_S)


def test_an_empty_window_has_nothing():
    assert window().products(0) == 0
    assert window().distributions(0) == {}


def test_what_comes_is_counted_by_signal():
    made = window()
    made.add(1000, 3, {"score": [0.1, 0.7, 0.8], "query_tokens": [3]})
    made.add(1001, 1, {"score": [0.2]})
    found = made.distributions(1001)
    assert found["score"].counts == (2, 2)
    assert found["query_tokens"].counts == (0, 1, 0)
    assert made.products(1001) == 4


def test_a_signal_that_the_window_does_not_know_is_passed_over():
    made = window()
    made.add(0, 1, {"colour": [1.0], "score": [0.1]})
    assert set(made.distributions(0)) == {"score"}


def test_what_is_older_than_the_window_is_gone_without_any_traffic():
    made = window()
    made.add(0, 5, {"score": [0.1] * 5})
    assert made.products(WINDOW_S - PART_S) == 5
    assert made.products(WINDOW_S) == 0
    assert made.distributions(WINDOW_S) == {}


def test_it_slides_by_parts():
    made = window()
    for part in range(2 * PARTS):
        made.add(part * PART_S, 1, {"score": [0.1 if part < PARTS else 0.9]})
    counts = [made.distributions((2 * PARTS - 1 + later) * PART_S) for later in range(PARTS + 1)]
    assert [found["score"].counts if found else None for found in counts] == [
        *((0, PARTS - later) for later in range(PARTS)),
        None,
    ]


def test_a_long_silence_leaves_nothing_of_before():
    made = window()
    made.add(0, 1, {"score": [0.1]})
    later = 1000 * WINDOW_S
    made.add(later, 1, {"score": [0.9]})
    assert made.distributions(later)["score"].counts == (0, 1)


@given(st.lists(st.tuples(st.floats(0, 400), st.lists(st.floats(0, 1), max_size=5)), max_size=60))
def test_it_holds_what_came_in_the_last_twelfths(arrivals):
    made = window()
    now, seen = 0.0, []
    for gap, scores in arrivals:
        now += gap
        made.add(now, len(scores), {"score": scores})
        seen.append((int(now // PART_S), scores))
    kept = [score for turn, scores in seen if turn > int(now // PART_S) - PARTS for score in scores]
    assert made.products(now) == len(kept)
    found = made.distributions(now).get("score")
    above = sum(score >= 0.5 for score in kept)
    assert (found.counts if found else (0, 0)) == (len(kept) - above, above)


def test_any_amount_of_traffic_takes_the_same_memory():
    made = window()

    def held():
        return sum(array.nbytes for array in made._sums.values())

    before = held()
    random = np.random.default_rng(0)
    for second in range(3000):
        made.add(float(second), 50, {"score": random.random(50), "query_tokens": [second % 7]})
    assert held() == before < 10_000
    assert made.products(2999.0) == pytest.approx(50 * WINDOW_S, rel=1 / PARTS)
