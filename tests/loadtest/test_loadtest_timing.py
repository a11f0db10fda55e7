"""Server-Timing as servers and proxies write it."""

import pytest

from loadtest.client import deadline_of
from loadtest.timing import told_stages, total_of


@pytest.mark.parametrize(
    ("header", "stages"),
    [
        ("", ()),
        ("queue;dur=0.04, inference;dur=1.5, total;dur=2", (("queue", 0.04), ("inference", 1.5), ("total", 2.0))),
        ('cache;desc="hit", edge;desc="x";dur="3.5",total; dur=2', (("edge", 3.5), ("total", 2.0))),
        ("total;dur=nan, a;dur=x, b;DUR=1, c;dur", (("b", 1.0),)),
    ],
)
def test_entries_without_a_duration_are_left_out(header, stages):
    assert told_stages(header) == stages
    assert total_of(stages) == (2.0 if "dur=2" in header else None)


@pytest.mark.parametrize(
    ("headers", "timeout_ms", "deadline_ms"),
    [
        ({}, None, None),
        ({}, 40, 40),
        ({"x-request-timeout-ms": "75"}, None, 75),
        ({"x-request-timeout-ms": "75", "x-envoy-expected-rq-timeout-ms": "60"}, 80, 60),
        ({"x-request-timeout-ms": "75"}, 0, 0),
        ({"x-request-timeout-ms": "soon"}, None, None),
    ],
)
def test_the_smallest_deadline_counts(headers, timeout_ms, deadline_ms):
    assert deadline_of(headers, timeout_ms) == deadline_ms
