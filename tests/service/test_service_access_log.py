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


def test_a_level_that_shows_no_requests_wants_none(times, caplog):
    caplog.set_level(logging.WARNING, "service.access")
    assert not any(times.log.wants(status, "any") for status in (200, 422, 503))


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


@pytest.mark.parametrize("status", [500, 504, None])
def test_a_request_that_the_service_failed_is_wanted_at_any_rate_and_warned_of(lines, caplog, status):
    log = AccessLog(lambda: 0.0, rate=0.0)
    assert log.wants(status, "any")
    log.write(status, {"status": status})
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_of_other_requests_a_share_is_wanted_by_their_ids(lines):
    ids = [f"id-{i}" for i in range(1000)]
    none, some, every = (AccessLog(lambda: 0.0, rate=rate) for rate in (0.0, 0.1, 1.0))
    for status in (200, 401, 422, 499):
        assert not [each for each in ids if none.wants(status, each)]
        assert 60 < len([each for each in ids if some.wants(status, each)]) < 140
        assert all(every.wants(status, each) for each in ids)
    assert [each for each in ids if some.wants(200, each)] == [each for each in ids if some.wants(422, each)]


def test_requests_that_are_shed_are_wanted_at_any_rate_for_they_are_counted(lines):
    assert AccessLog(lambda: 0.0, rate=0.0).wants(503, "any")


def test_a_level_of_errors_shows_no_request(lines, caplog):
    caplog.set_level(logging.ERROR, "service.access")
    log = AccessLog(lambda: 0.0)
    assert not any(log.wants(status, "any") for status in (200, 503, 500, None))


def test_the_rate_is_a_setting(serve, lines):
    service = serve(log_rate=0.0)
    assert service.score("usb").status_code == 200
    assert service.score("usb", timeout_ms=0.001).status_code == 504
    asked = lambda: [fields["status"] for _, fields in lines() if fields.get("path") == "/score"]  # noqa: E731
    service.wait_until(lambda: bool(asked()))
    assert asked() == [504]
