"""The stages of a request, from the times taken of it."""

import pytest

from service.context import RequestInfo
from service.job import StageTimes
from service.tracing.stages import stages_of


def stages(ended=100.0, *, received=2.0, admitted=None, complete=True, **times):
    info = RequestInfo(1.0, "r", {"complete": complete}, received=received, admitted=admitted)
    if times:
        info.times = StageTimes(**times)
    return [(stage.name, stage.started, stage.ended) for stage in stages_of(info, ended)]


WHOLE = {"submitted": 3, "prepare_started": 5, "prepare_ended": 7, "recall_ended": 7, "pairs_started": 8}


def test_a_request_goes_from_one_stage_to_the_next():
    assert stages(admitted=4, **WHOLE, pairs_ended=9) == [
        ("receive", 1, 2),
        ("admission", 2, 4),
        ("queue", 4, 5),
        ("tokenise", 5, 7),
        ("queue", 7, 8),
        ("inference", 8, 9),
    ]


def test_products_that_were_encoded_have_a_stage_of_their_own():
    times = {**WHOLE, "recall_ended": 5.5, "encode_started": 5.6, "encode_ended": 7, "pairs_ended": 9}
    assert stages(admitted=4, **times)[3:5] == [("tokenise", 5, 5.5), ("encode", 5.6, 7)]


def test_a_lane_that_was_quicker_than_the_note_of_its_admission_overlaps_with_nothing():
    assert stages(admitted=6, **WHOLE, pairs_ended=9)[1:4] == [
        ("admission", 2, 5),
        ("queue", 5, 5),
        ("tokenise", 5, 7),
    ]


@pytest.mark.parametrize(
    ("times", "last"),
    [
        ({}, ("admission", 2, 100)),
        ({"submitted": 3}, ("queue", 4, 100)),
        ({"submitted": 3, "prepare_started": 5}, ("tokenise", 5, 100)),
        ({"submitted": 3, "prepare_started": 5, "prepare_ended": 7}, ("queue", 7, 100)),
        (WHOLE, ("inference", 8, 100)),
    ],
    ids=["refused", "waiting", "tokenising", "waiting again", "scoring"],
)
def test_a_stage_that_was_cut_off_ends_with_the_request(times, last):
    assert stages(admitted=4 if times else None, complete=False, **times)[-1] == last


def test_a_request_whose_body_never_came_was_received_to_its_end():
    assert stages(received=None) == [("receive", 1, 100)]


def test_scores_that_were_all_known_need_no_lane():
    assert stages(admitted=4, submitted=3) == [("receive", 1, 2), ("admission", 2, 4)]


def test_what_a_lane_does_after_the_answer_is_no_part_of_it():
    assert stages(8.5, admitted=4, complete=False, **WHOLE, pairs_ended=9)[-1] == ("inference", 8, 8.5)
