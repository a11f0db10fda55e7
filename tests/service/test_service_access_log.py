"""Which requests get a line in the log."""

import json
import logging

import pytest

from service.logs import JsonFormatter
from service.middleware import AccessLog


class Times:
    def __init__(self):
        self.now = 0.0
        self.due = []
        self.log = AccessLog(
            lambda: self.now, lambda delay_s, function: self.due.append((self.now + delay_s, function))
        )

    def pass_to(self, now):
        self.now = now
        for due in [each for each in self.due if each[0] <= now]:
            self.due.remove(due)
            due[1]()


@pytest.fixture
def times():
    return Times()


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "service.access")
    return lambda: [(record.getMessage(), record.fields) for record in caplog.records]


def test_every_request_that_is_not_shed_has_its_line(times, lines):
    for status in (200, 422, 504, 500, 499, None):
        times.log.write(status, {"status": status})
    assert [fields["status"] for _, fields in lines()] == [200, 422, 504, 500, 499, None]


def test_of_shed_requests_the_first_has_a_line_and_the_others_are_counted_each_second(times, lines):
    for times.now in (0.0, 0.1, 0.2, 0.9):
        times.log.write(503, {"first": True})
    assert lines() == [("request", {"first": True})]
    times.pass_to(1.0)
    for times.now in (1.1, 1.2):
        times.log.write(503, {})
    times.pass_to(2.0)
    assert lines()[1:] == [
        ("requests shed", {"status": 503, "requests": 3}),
        ("requests shed", {"status": 503, "requests": 2}),
    ]


def test_shed_requests_that_are_far_between_have_a_line_each(times, lines):
    for times.now in (0.0, 1.0, 2.5):
        times.log.write(503, {"at": times.now})
    assert [fields for _, fields in lines()] == [{"at": 0.0}, {"at": 1.0}, {"at": 2.5}]
    assert not times.due


def test_a_level_that_shows_no_requests_counts_none(times, lines, caplog):
    caplog.set_level(logging.WARNING, "service.access")
    for _ in range(3):
        times.log.write(503, {})
    assert not times.due
    assert lines() == []


def test_a_burst_of_rejections_writes_few_lines_and_the_count_bears_the_id_of_none(serve, caplog):
    caplog.set_level(logging.INFO, "service.access")
    caplog.handler.setFormatter(JsonFormatter())
    service = serve()
    service.runtime.drain()
    for _ in range(50):
        assert service.score("usb").status_code == 503
    while "requests shed" not in caplog.text:
        pass
    events = [json.loads(line) for line in caplog.text.splitlines()]
    single = [event for event in events if event["message"] == "request" and event["path"] == "/score"]
    counts = [event for event in events if event["message"] == "requests shed"]
    assert all(event["request_id"] for event in single)
    assert not any("request_id" in event for event in counts)
    assert sum(event["requests"] for event in counts) > 0
    assert len(single) < 10
